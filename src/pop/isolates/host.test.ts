import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { detectSandbox } from './sandbox.ts';
import { ask, openBench } from './testing.ts';
import { Zygotes } from './zygotes.ts';

const bench = await openBench();
after(() => bench.close());
const { host } = bench;

const HELLO = {
  'index.js': 'export default { fetch(request, env) { return new Response("hello " + (env.NAME ?? "world")) } }',
};

describe('an isolate process', () => {
  it('answers for its version', async () => {
    const isolate = await host.start({ version: await bench.version(HELLO), tailed: false, entrypoints: [] });
    assert.equal((await ask(isolate.ref.main)).body, 'hello world');
    assert.equal((await ask(isolate.ref.rpc.default!)).body, 'hello world');
    await isolate.ping(5_000);
    await isolate.stop(1_000);
  });

  it('gets request.cf and the scheme by headers of ours', async () => {
    const source =
      'export default { fetch(r) { return Response.json({ cf: r.cf, url: r.url, left: [...r.headers.keys()].filter((k) => k.startsWith("selvedge")) }) } }';
    const isolate = await host.start({
      version: await bench.version({ 'a.js': source }),
      tailed: false,
      entrypoints: [],
    });
    const { body } = await ask(isolate.ref.main, '/x', {
      'selvedge-cf': '{"country":"NZ"}',
      'selvedge-proto': 'https',
    });
    assert.deepEqual(JSON.parse(body), { cf: { country: 'NZ' }, url: 'https://test.example/x', left: [] });
    await isolate.stop(1_000);
  });

  it('has its bindings, whatever is written in them', async () => {
    const hostile = 'x"), (name = "y", text = "z\\ \u0007 \n ü 漢 {{';
    const source = 'export default { fetch(r, env) { return Response.json(env) } }';
    const version = await bench.version(
      { 'a.js': source },
      {
        bindings: [
          { name: 'TEXT', type: 'plain_text', text: hostile },
          { name: 'na"me\\', type: 'json', json: { deep: [hostile] } },
          { name: 'SECRET', type: 'secret_text', sealed: bench.seal(hostile) },
          { name: 'META', type: 'version_metadata' },
        ],
      },
    );
    const isolate = await host.start({ version, tailed: false, entrypoints: [] });
    assert.deepEqual(JSON.parse((await ask(isolate.ref.main)).body), {
      TEXT: hostile,
      'na"me\\': { deep: [hostile] },
      SECRET: hostile,
      META: { id: version.id, tag: '', timestamp: version.createdOn },
    });
    await isolate.stop(1_000);
  });

  it('takes module names from strangers', async () => {
    const version = await bench.version({
      'src/a".js': 'import t from "./b\\\\x.txt"; export default { fetch() { return new Response(t) } }',
      'src/b\\x.txt': 'text of a module',
    });
    const isolate = await host.start({ version, tailed: false, entrypoints: [] });
    assert.equal((await ask(isolate.ref.main)).body, 'text of a module');
    await isolate.stop(1_000);
  });

  it('runs Node code', async () => {
    const source =
      'import { Buffer } from "node:buffer"; import { createHash } from "node:crypto"; export default { fetch() { return new Response(createHash("sha256").update(Buffer.from("a")).digest("hex")) } }';
    const version = await bench.version(
      { 'a.js': source },
      { compatibilityDate: '2025-01-01', compatibilityFlags: ['nodejs_compat'] },
    );
    const isolate = await host.start({ version, tailed: false, entrypoints: [] });
    assert.match((await ask(isolate.ref.main)).body, /^ca978112/);
    await isolate.stop(1_000);
  });

  it('runs scheduled()', async () => {
    const source =
      'let seen; export default { scheduled(e) { seen = [e.cron, e.scheduledTime]; if (e.cron === "bad") throw new Error("no") }, fetch() { return Response.json(seen) } }';
    const isolate = await host.start({
      version: await bench.version({ 'a.js': source }, { handlers: ['fetch', 'scheduled'] }),
      tailed: false,
      entrypoints: [],
    });
    assert.deepEqual(await isolate.scheduled('* * * * *', 1234), { outcome: 'ok' });
    assert.deepEqual(JSON.parse((await ask(isolate.ref.main)).body), ['* * * * *', 1234]);
    assert.deepEqual(await isolate.scheduled('bad', 1), { outcome: 'exception' });
    await isolate.stop(1_000);
  });

  it('is metered by the kernel', async () => {
    const source =
      'export default { fetch() { let x = 0; for (let i = 0; i < 3e8; i++) x += i; return new Response(String(x)) } }';
    const version = await bench.version({ 'a.js': source }, { script: 'metered' });
    const isolate = await host.start({ version, tailed: false, entrypoints: [] });
    isolate.active = true;
    await ask(isolate.ref.main);
    isolate.readStats();
    assert.ok(isolate.cpuMs >= 50, `${isolate.cpuMs} ms`);
    await isolate.stop(1_000);
  });

  it('leaves nothing behind', async () => {
    const isolate = await host.start({ version: await bench.version(HELLO), tailed: false, entrypoints: [] });
    const { pid, directory } = isolate;
    await isolate.stop(1_000);
    assert.throws(() => process.kill(pid, 0));
    for (let i = 0; i < 50 && readdirSync(join(directory, '..')).includes(isolate.ref.id); i++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.ok(!readdirSync(join(directory, '..')).includes(isolate.ref.id));
  });

  it('keeps no secret in plain text on disk, in its environment or in its command line', async () => {
    const secret = 'correct-horse-battery-staple';
    const version = await bench.version(HELLO, {
      bindings: [{ name: 'NAME', type: 'secret_text', sealed: bench.seal(secret) }],
    });
    const isolate = await host.start({ version, tailed: false, entrypoints: [] });
    assert.equal((await ask(isolate.ref.main)).body, `hello ${secret}`);
    for (const file of readdirSync(bench.cacheDir))
      assert.ok(!readFileSync(join(bench.cacheDir, file)).includes(secret));
    assert.ok(!readFileSync(`/proc/${isolate.pid}/environ`).includes(secret));
    assert.ok(!readFileSync(`/proc/${isolate.pid}/cmdline`).includes(secret));
    await isolate.stop(1_000);
  });
});

it('a Worker starts although the cache of configurations was deleted or damaged', async () => {
  const version = await bench.version(HELLO);
  for (const harm of [
    () => rmSync(bench.cacheDir, { recursive: true }),
    () => {
      for (const file of readdirSync(bench.cacheDir)) writeFileSync(join(bench.cacheDir, file), 'damaged');
    },
  ]) {
    harm();
    const isolate = await host.start({ version, tailed: false, entrypoints: [] });
    assert.equal((await ask(isolate.ref.main)).body, 'hello world');
    await isolate.stop(1_000);
  }
});

it('secrets in plain text are gone when a configuration is compiled', () => {
  assert.deepEqual(readdirSync(join(bench.runDir, 'c')), []);
});

it('the look-up of a pid survives the end of the process at any moment', async () => {
  const runDir = mkdtempSync(join(tmpdir(), 'sv-'));
  mkdirSync(join(runDir, 'i'), { mode: 0o711 });
  const zygotes = new Zygotes(await detectSandbox(), runDir, 0);
  const zygote = await zygotes.take();
  const gone = once(zygote.process, 'exit');
  let ended = false;
  void gone.then(() => {
    ended = true;
  });
  process.kill(zygote.workerdPid(), 'SIGKILL');
  while (!ended) {
    for (let i = 0; i < 100; i++) zygote.workerdPid();
    await new Promise((resolve) => setImmediate(resolve));
  }
  zygote.workerdPid();
  zygotes.close();
  rmSync(runDir, { recursive: true });
});

describe('a limit', () => {
  it('of CPU ends a loop, and others answer meanwhile', async () => {
    const source = 'export default { fetch(r) { if (r.url.endsWith("/loop")) for (;;); return new Response("ok") } }';
    const limits = { cpuMs: 200, memoryMb: 128, subrequests: 50 };
    const looping = await host.start({
      version: await bench.version({ 'a.js': source }, { limits }),
      tailed: false,
      entrypoints: [],
    });
    const good = await host.start({ version: await bench.version(HELLO), tailed: false, entrypoints: [] });
    const exit = once(looping, 'exit');
    const lost = assert.rejects(ask(looping.ref.main, '/loop'));
    looping.active = true;
    for (let i = 0; i < 5; i++) assert.equal((await ask(good.ref.main)).status, 200);
    assert.deepEqual(await exit, ['exceededCpu']);
    await lost;
    assert.equal(await looping.verdict(), 'exceededCpu');
    await good.stop(1_000);
  });

  it('of CPU ends a loop also while more connections wait than the kernel lets wait', async () => {
    const version = await bench.version(
      { 'a.js': 'export default { fetch() { for (;;); } }' },
      { limits: { cpuMs: 200, memoryMb: 128, subrequests: 50 } },
    );
    const isolate = await host.start({ version, tailed: false, entrypoints: [] });
    const exit = once(isolate, 'exit');
    const lost = assert.rejects(ask(isolate.ref.main));
    await new Promise((resolve) => setTimeout(resolve, 20));
    const most = Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'));
    // In one go: the watchdog's first ping comes after them.
    let refused = 0;
    const waiting = Array.from({ length: most + 10 }, () =>
      connect(isolate.ref.main).on('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'EAGAIN') refused++;
      }),
    );
    assert.deepEqual(await exit, ['exceededCpu']);
    assert.ok(refused > 0);
    for (const socket of waiting) socket.destroy();
    await lost;
  });

  for (const [what, code] of [
    ['objects', 'const a = []; for (;;) a.push({ x: new Array(1000).fill(a.length) });'],
    [
      'buffers',
      'const a = []; for (;;) { a.push(new Uint8Array(8 << 20).fill(1)); await new Promise((r) => setTimeout(r, 1)); }',
    ],
    [
      'WebAssembly memory',
      'const m = new WebAssembly.Memory({ initial: 1 }); for (;;) { m.grow(256); new Uint8Array(m.buffer).fill(1); await new Promise((r) => setTimeout(r, 1)); }',
    ],
  ] as const) {
    it(`of memory holds for ${what}`, async () => {
      const source = `export default { async fetch() { ${code} } }`;
      const version = await bench.version(
        { 'a.js': source },
        { limits: { cpuMs: 30_000, memoryMb: 64, subrequests: 50 } },
      );
      const isolate = await host.start({ version, tailed: false, entrypoints: [] });
      isolate.active = true;
      const exit = once(isolate, 'exit').then(([verdict]) => verdict as string);
      // Either the process goes, or the kernel's bound makes the allocation throw inside.
      const outcome = await Promise.race([
        exit,
        ask(isolate.ref.main).then(
          (answer) => `answered ${answer.status}`,
          () => exit,
        ),
      ]);
      assert.ok(outcome === 'exceededMemory' || outcome === 'answered 500', String(outcome));
      isolate.kill('drained');
    });
  }

  it('of CPU holds for more loops than the machine has cores, also while they write logs', async () => {
    const version = await bench.version(
      {
        'a.js':
          'export default { fetch(r) { if (r.url.endsWith("/log")) for (;;) console.log("x".repeat(100)); for (;;); } }',
      },
      { limits: { cpuMs: 50, memoryMb: 128, subrequests: 50 } },
    );
    const isolates = await Promise.all(
      Array.from({ length: 12 }, () => host.start({ version, tailed: false, entrypoints: [] })),
    );
    const verdicts = isolates.map(async (isolate, index) => {
      isolate.active = true;
      const exit = once(isolate, 'exit');
      await assert.rejects(ask(isolate.ref.main, index % 2 ? '/log' : '/loop'));
      return (await exit)[0] as string;
    });
    assert.deepEqual(new Set(await Promise.all(verdicts)), new Set(['exceededCpu']));
  });

  it('of CPU is one of a request: many short ones at once do not exceed it', async () => {
    const version = await bench.version(
      {
        'a.js':
          'export default { fetch() { let x = 0; for (let i = 0; i < 2e6; i++) x += i % 7; return new Response(String(x)) } }',
      },
      { limits: { cpuMs: 50, memoryMb: 128, subrequests: 50 } },
    );
    const isolate = await host.start({ version, tailed: false, entrypoints: [] });
    isolate.active = true;
    const clients = Array.from({ length: 64 }, async () => {
      for (let i = 0; i < 10; i++) assert.equal((await ask(isolate.ref.main)).status, 200);
    });
    await Promise.all(clients);
    assert.equal(isolate.ended, false);
    await isolate.stop(1_000);
  });

  it('that is not reached makes no verdict of an exit: a crash is an exception', async () => {
    const isolate = await host.start({ version: await bench.version(HELLO), tailed: false, entrypoints: [] });
    const exit = once(isolate, 'exit');
    process.kill(isolate.pid, 'SIGKILL');
    assert.deepEqual(await exit, ['exception']);
    assert.equal(await isolate.verdict(), 'exception');
  });
});

it('who has no descriptor left tries again later and leaves no directory', async () => {
  const script = `
    import { closeSync, openSync, readdirSync } from 'node:fs';
    import { mkdirSync, mkdtempSync } from 'node:fs';
    import { Zygotes } from ${JSON.stringify(new URL('./zygotes.ts', import.meta.url).href)};
    const runDir = mkdtempSync('${tmpdir()}/selvedge-emfile-');
    mkdirSync(runDir + '/i');
    const zygotes = new Zygotes({ level: 'plain', details: [], ownUid: false }, runDir, 0);
    (await zygotes.take()).process.kill('SIGKILL');
    const before = readdirSync(runDir + '/i').length;
    const files = [];
    try { for (;;) files.push(openSync('/dev/null')); } catch {}
    const refused = await zygotes.take().then(() => 'none', (error) => error.code);
    for (const fd of files) closeSync(fd);
    const left = readdirSync(runDir + '/i').length - before;
    const zygote = await zygotes.take();
    zygote.process.kill('SIGKILL');
    console.log(JSON.stringify({ refused, left }));
    (await import('node:fs')).rmSync(runDir, { recursive: true });
    process.exit();`;
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script];
  const output = execFileSync('prlimit', ['--nofile=128:128', ...node], { encoding: 'utf8' });
  assert.deepEqual(JSON.parse(output), { refused: 'EMFILE', left: 0 });
});
