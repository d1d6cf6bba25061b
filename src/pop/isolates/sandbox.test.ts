/** What a Worker can try from inside, and what a process that broke out of the runtime finds, at each level that works on this machine. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { detectSandbox } from './sandbox.ts';
import { ask, openBench } from './testing.ts';

const isRoot = process.getuid?.() === 0;

const PROBER = `
  import { connect } from 'cloudflare:sockets';
  import fs from 'node:fs';
  const attempt = async (act) => { try { return { ok: await act() } } catch (error) { return { error: String(error) } } };
  export default { async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    const target = searchParams.get('target');
    if (pathname === '/connect') return Response.json(await attempt(async () => {
      const socket = connect(target); await socket.opened; await socket.close(); return 'connected' }));
    if (pathname === '/fetch') return Response.json(await attempt(async () => (await fetch(target)).text()));
    if (pathname === '/read') return Response.json(await attempt(() => fs.readFileSync(target, 'utf8')));
    return Response.json(await attempt(() => fs.readdirSync(target)));
  } }`;

/** Runs a shell command with the uid and capabilities of a process: what its attacker could do on the host's file system. */
function as(uid: number, command: string): string {
  const args = [
    `--reuid=${uid}`,
    `--regid=${uid}`,
    '--clear-groups',
    '--no-new-privs',
    'sh',
    '-c',
    `${command} 2>&1; true`,
  ];
  return execFileSync('setpriv', args, { encoding: 'utf8' });
}

for (const level of ['bubblewrap', 'namespaces', 'plain'] as const) {
  const failure = await detectSandbox(level).then(
    () => null,
    (error: Error) => error.message,
  );
  describe(`sandbox level ${level}`, { skip: failure ?? false }, async () => {
    if (failure) return;
    const bench = await openBench({ sandbox: level, zygotes: 1 });
    after(() => bench.close());
    let hits = 0;
    const listener = createServer((socket) => {
      hits++;
      socket.destroy();
    });
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    after(() => void listener.close());
    const { port } = listener.address() as { port: number };

    const start = async (source = PROBER) =>
      bench.host.start({ version: await bench.version({ 'a.js': source }), tailed: false, entrypoints: [] });
    const isolate = await start();
    const other = await start('export default { fetch() { return new Response("other") } }');
    const probe = async (path: string, target: string): Promise<{ ok?: unknown; error?: string }> =>
      JSON.parse((await ask(isolate.ref.main, `${path}?target=${encodeURIComponent(target)}`)).body);
    const status = (pid: number) => readFileSync(`/proc/${pid}/status`, 'utf8');

    it('connect() and fetch() do not reach the machine', async () => {
      assert.ok((await probe('/connect', `127.0.0.1:${port}`)).error);
      assert.ok((await probe('/fetch', `http://127.0.0.1:${port}/`)).error);
      assert.equal(hits, 0);
    });

    it('there are no files of the machine, nor of its own process', async () => {
      for (const path of [
        '/etc/passwd',
        '/proc/self/environ',
        `/proc/${other.pid}/cmdline`,
        '/s/p.sock',
        isolate.directory,
      ])
        assert.ok((await probe('/read', path)).error, path);
      const { ok } = await probe('/list', '/');
      assert.deepEqual(
        (ok as string[]).filter((name) => !['bundle', 'tmp', 'dev'].includes(name)),
        [],
      );
    });

    it('the process has no capability, no new privileges, no environment and leaves no core file', () => {
      for (const field of [/^CapEff:\t0+$/m, /^CapPrm:\t0+$/m, /^CapInh:\t0+$/m, /^CapAmb:\t0+$/m, /^NoNewPrivs:\t1$/m])
        assert.match(status(isolate.pid), field);
      assert.match(readFileSync(`/proc/${isolate.pid}/limits`, 'utf8'), /^Max core file size +0 +0 /m);
      assert.doesNotMatch(readFileSync(`/proc/${isolate.pid}/environ`, 'utf8'), /HOME|PATH|SELVEDGE/);
    });

    it('as root, each process has a uid of its own and its way to capabilities is closed', { skip: !isRoot }, () => {
      const uids = [isolate, other].map(({ pid }) => /^Uid:\t(\d+)\t\1\t\1\t\1$/m.exec(status(pid))?.[1]);
      assert.ok(
        uids.every((uid) => Number(uid) >= 1_600_000_000),
        uids.join(),
      );
      assert.notEqual(uids[0], uids[1]);
      assert.match(status(isolate.pid), /^CapBnd:\t0+$/m);
      assert.match(status(isolate.pid), /^Groups:\s*$/m);
    });

    it('it has no network but its own empty one', { skip: level === 'plain' }, () => {
      assert.notEqual(readlinkSync(`/proc/${isolate.pid}/ns/net`), readlinkSync('/proc/self/ns/net'));
      const devices = readFileSync(`/proc/${isolate.pid}/net/dev`, 'utf8').split('\n').slice(2);
      assert.ok(
        devices.every((line) => line.trim() === '' || line.trim().startsWith('lo:')),
        devices.join(),
      );
    });

    it('it sees no other process', { skip: level === 'plain' }, () => {
      assert.notEqual(readlinkSync(`/proc/${isolate.pid}/ns/pid`), readlinkSync('/proc/self/ns/pid'));
      if (level === 'bubblewrap') assert.ok(!readdirSync(`/proc/${isolate.pid}/root/`).includes('proc'));
    });

    it('its root holds the runtime, libraries and its directory only', { skip: level !== 'bubblewrap' }, () => {
      const allowed = ['lib', 'lib64', 'usr', 'workerd', 'setpriv', 's'];
      const seen = readdirSync(`/proc/${isolate.pid}/root/`);
      assert.deepEqual(
        seen.filter((name) => !allowed.includes(name)),
        [],
      );
    });

    it('as root, who breaks out of the runtime cannot lead the supervisor astray by links', { skip: !isRoot }, () => {
      const { uid } = lstatSync(isolate.ref.main);
      writeFileSync(join(isolate.directory, 'egress.sock'), 'of the data process');
      for (const command of [
        `ln -sf /etc/passwd ${isolate.ref.main}`,
        `rm ${isolate.ref.main}`,
        `touch ${join(isolate.directory, 'own', 'x')}`,
        `ln -sf /etc/shadow ${join(isolate.directory, 'egress.sock')}`,
        `touch ${join(isolate.directory, 'x')}`,
        `ls ${other.directory}`,
        `ls ${join(other.directory, 'own')}`,
        `ls ${join(bench.runDir, 'c')}`,
        `ls ${bench.cacheDir}`,
      ])
        assert.match(as(uid, command), /denied/i, command);
      assert.ok(lstatSync(isolate.ref.main).isSocket());
    });

    it('all die with a supervisor that is killed, zygotes too', async () => {
      const script = `
        import { openBench } from ${JSON.stringify(new URL('./testing.ts', import.meta.url).href)};
        const bench = await openBench({ zygotes: 2, sandbox: '${level}' });
        const version = await bench.version({ 'a.js': 'export default { fetch() {} }' });
        const isolate = await bench.host.start({ version, tailed: false, entrypoints: [] });
        while (bench.host.zygoteCount() < 2) await new Promise((resolve) => setTimeout(resolve, 10));
        console.log(JSON.stringify([isolate.pid, bench.runDir]));
        setInterval(() => undefined, 1000);`;
      const supervisor = spawn(process.execPath, ['--input-type=module', '-e', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const [line] = (await once(createInterface(supervisor.stdout), 'line')) as [string];
      const [pid, runDir] = JSON.parse(line) as [number, string];
      const family = descendants(supervisor.pid!);
      assert.ok(family.includes(pid) && family.length >= 3, family.join());
      supervisor.kill('SIGKILL');
      await once(supervisor, 'exit');
      const deadline = Date.now() + 20_000;
      while (family.some(isAlive)) {
        assert.ok(Date.now() < deadline, `left: ${family.filter(isAlive).join()}`);
        await sleep(10);
      }
      assert.ok(runDir.startsWith(dirname(bench.runDir)));
      execFileSync('rm', ['-r', runDir]);
    });

    it('none outlives a supervisor that is killed while it starts them', async () => {
      const script = `
        import { openBench } from ${JSON.stringify(new URL('./testing.ts', import.meta.url).href)};
        const bench = await openBench({ zygotes: 0, sandbox: '${level}' });
        const version = await bench.version({ 'a.js': 'export default { fetch() {} }' });
        const start = () => bench.host.start({ version, tailed: false, entrypoints: [] });
        await (await start()).stop(1000);
        console.log(bench.runDir);
        setTimeout(() => process.kill(process.pid, 'SIGKILL'), Number(process.argv[1]));
        await Promise.all([start(), start()]);`;
      const killed = async (afterMs: number) => {
        const supervisor = spawn(process.execPath, ['--input-type=module', '-e', script, String(afterMs)], {
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        const [runDir] = (await once(createInterface(supervisor.stdout), 'line')) as [string];
        await once(supervisor, 'exit');
        return runDir;
      };
      const runDirs: string[] = [];
      for (let afterMs = 0; afterMs < 30; afterMs += 3)
        runDirs.push(...(await Promise.all([killed(afterMs), killed(afterMs + 1)])));
      const left = () => runDirs.flatMap(processesOf);
      const deadline = Date.now() + 10_000;
      while (left().length > 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 50));
      const survivors = left();
      for (const pid of survivors) process.kill(pid, 'SIGKILL');
      assert.deepEqual(survivors, []);
      for (const runDir of runDirs) execFileSync('rm', ['-r', runDir]);
    });
  });
}

describe('a supervisor with the capability for ports below 1024', { skip: !isRoot }, () => {
  it('has the same sandbox as one without', () => {
    const script = `import { detectSandbox } from ${JSON.stringify(new URL('./sandbox.ts', import.meta.url).href)};
      console.log((await detectSandbox()).level);`;
    const level = (...capabilities: string[]) =>
      execFileSync(
        'setpriv',
        [
          ...['--reuid=65534', '--regid=65534', '--clear-groups', ...capabilities, process.execPath],
          ...['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script],
        ],
        { encoding: 'utf8', env: {}, cwd: '/' },
      ).trim();
    assert.equal(level('--inh-caps=+net_bind_service', '--ambient-caps=+net_bind_service'), level());
  });
});

/** Processes, at any stage of their start, whose directory is below this one. */
function processesOf(runDir: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return (
          readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(runDir) ||
          readlinkSync(`/proc/${pid}/cwd`).startsWith(runDir)
        );
      } catch {
        return false;
      }
    })
    .map(Number)
    .filter((pid) => isAlive(pid));
}

function descendants(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean)
    .map(Number);
  return children.flatMap((child) => [child, ...descendants(child)]);
}

/** Zombies that nobody has waited for are dead. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
