/** Workers that loop, allocate, crash or try to get out: what their visitors see, and that others do not notice. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { after, describe, it } from 'node:test';
import { eventually, startEdge } from './harness.ts';

const edge = await startEdge();
after(() => edge.close());

async function deploy(name: string, source: string, config: Record<string, unknown> = {}) {
  const cwd = await edge.project(
    { name, main: 'index.js', compatibility_date: '2026-11-01', ...config },
    { 'index.js': source },
  );
  await edge.deployed(['deploy'], { cwd });
  return edge.host(name);
}

const good = await deploy('good', 'export default { fetch() { return new Response("good") } }');
const bad = await deploy(
  'bad',
  `export default { async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === '/loop') for (;;);
    if (pathname === '/heap') { const a = []; for (;;) a.push(new Array(1000).fill(Math.random())); }
    if (pathname === '/buffers') { const a = []; for (;;) { a.push(new Uint8Array(16 << 20).fill(1)); await new Promise((r) => setTimeout(r, 2)); } }
    if (pathname === '/throw') throw new Error('<b>boom</b>');
    if (pathname === '/own500') return new Response('my own error', { status: 500 });
    if (pathname === '/empty500') return new Response(null, { status: 500 });
    return new Response('fine');
  } }`,
  { limits: { cpu_ms: 100 } },
);

describe('a visitor sees', () => {
  it('1102 when the Worker loops, and the Worker answers again at once', async () => {
    const answer = await edge.request(bad, '/loop');
    assert.equal(answer.status, 503);
    assert.match(answer.text, /1102/);
    assert.match(answer.text, new RegExp(String(answer.headers['cf-ray'])));
    assert.equal((await edge.request(bad, '/')).text, 'fine');
  });

  for (const path of ['/heap', '/buffers']) {
    it(`1102 or an exception when the Worker allocates without end (${path})`, async () => {
      const answer = await edge.request(bad, path);
      // The kernel's bound makes an allocation throw inside before the watchdog sees it: 1101.
      assert.ok(answer.status === 503 || answer.status === 500, String(answer.status));
      assert.match(answer.text, /110[12]/);
      assert.equal((await edge.request(bad, '/')).text, 'fine');
    });
  }

  it('1101 when the Worker throws, as HTML that is escaped or as JSON', async () => {
    const html = await edge.request(bad, '/throw', { headers: { accept: 'text/html' } });
    assert.equal(html.status, 500);
    assert.match(html.text, /1101/);
    assert.doesNotMatch(html.text, /boom/);
    const json = await edge.request(bad, '/throw', { headers: { accept: 'application/json' } });
    assert.equal(json.json().errors[0].code, 1101);
  });

  it('the Worker’s own errors as they are', async () => {
    assert.equal((await edge.request(bad, '/own500')).text, 'my own error');
    const empty = await edge.request(bad, '/empty500');
    assert.deepEqual([empty.status, empty.text], [500, '']);
  });
});

it('others answer while one loops again and again', async () => {
  let stop = false;
  const looping = (async () => {
    while (!stop) await edge.request(bad, '/loop');
  })();
  for (let i = 0; i < 200; i++) assert.equal((await edge.request(good)).text, 'good');
  stop = true;
  await looping;
});

it('CPU time is metered and kept', async () => {
  await eventually(async () => {
    const { stdout } = await edge.selvedge(['usage', '--json']);
    const { rows } = JSON.parse(stdout) as { rows: { script: string; cpuMs: number }[] };
    return rows.some(({ script, cpuMs }) => script === 'bad' && cpuMs >= 100);
  });
});

describe('from inside a Worker', async () => {
  const prober = await deploy(
    'prober',
    `import { connect } from 'cloudflare:sockets';
    import fs from 'node:fs';
    export default { async fetch(request) {
      const { searchParams } = new URL(request.url);
      const target = searchParams.get('target');
      const attempt = async (f) => { try { return { ok: await f() } } catch (e) { return { error: String(e) } } };
      if (searchParams.get('how') === 'fetch') return Response.json(await attempt(async () => { const r = await fetch(target); return { status: r.status, text: await r.text() } }));
      if (searchParams.get('how') === 'connect') return Response.json(await attempt(async () => {
        const socket = connect(target); await socket.opened; const w = socket.writable.getWriter(); await w.write(new TextEncoder().encode('hello')); await socket.close(); return 'connected' }));
      if (searchParams.get('how') === 'read') return Response.json(await attempt(() => fs.readFileSync(target, 'utf8').slice(0, 100)));
      if (searchParams.get('how') === 'list') return Response.json(await attempt(() => fs.readdirSync(target)));
    } }`,
    { compatibility_flags: ['nodejs_compat'] },
  );
  const probe = async (how: string, target: string) =>
    (await edge.request(prober, `/?how=${how}&target=${encodeURIComponent(target)}`)).json();

  let hits = 0;
  const listener = createServer((socket) => {
    hits++;
    socket.destroy();
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const { port } = listener.address() as { port: number };
  after(() => void listener.close());

  for (const url of [
    `http://127.0.0.1:${port}/`,
    `http://localhost:${port}/`,
    `http://[::1]:${port}/`,
    `http://[::ffff:127.0.0.1]:${port}/`,
    `http://2130706433:${port}/`,
    'http://169.254.169.254/latest/meta-data/',
    'http://10.0.0.1/',
    'http://192.168.1.1/',
    'http://100.64.0.1/',
    'http://[fd00::1]/',
    'http://0.0.0.0/',
  ]) {
    it(`fetch() does not reach ${url}`, async () => {
      const { ok, error } = await probe('fetch', url);
      assert.ok(error || ok.status >= 400, JSON.stringify(ok));
      assert.equal(hits, 0);
    });
  }

  it('fetch() does not reach the control API', async () => {
    const { ok } = await probe('fetch', `${edge.apiUrl}/user/tokens/verify`);
    assert.doesNotMatch(JSON.stringify(ok ?? ''), /9106|success/);
  });

  it('connect() does not reach the machine', async () => {
    const { error } = await probe('connect', `127.0.0.1:${port}`);
    assert.ok(error);
    assert.equal(hits, 0);
  });

  it('there are no files of the machine', async () => {
    for (const path of ['/etc/passwd', '/proc/self/environ', `${edge.dataDir}/secret.key`])
      assert.ok((await probe('read', path)).error, path);
    const { ok } = await probe('list', '/');
    assert.deepEqual(
      (ok as string[]).filter((name) => !['bundle', 'tmp', 'dev'].includes(name)),
      [],
    );
  });

  it('the process has no privileges, no network and its own user', async () => {
    const { stdout } = await edge.selvedge(['status', '--json']);
    const status = JSON.parse(stdout) as { sandbox: string; isolates: { script: string; pid: number }[] };
    const { pid } = status.isolates.find(({ script }) => script === 'prober')!;
    const facts = readFileSync(`/proc/${pid}/status`, 'utf8');
    assert.match(facts, /^CapEff:\t0+$/m);
    assert.match(facts, /^NoNewPrivs:\t1$/m);
    if (process.getuid?.() === 0) assert.doesNotMatch(facts, /^Uid:\t0\t/m);
    if (status.sandbox === 'plain') return;
    const devices = readFileSync(`/proc/${pid}/net/dev`, 'utf8')
      .split('\n')
      .slice(2)
      .filter((line) => line.trim() !== '');
    assert.ok(
      devices.every((line) => line.trim().startsWith('lo:')),
      devices.join(),
    );
    if (status.sandbox === 'bubblewrap') {
      // Only the runtime, its libraries and the process's own directory.
      const root = execFileSync('ls', [`/proc/${pid}/root/.`], { encoding: 'utf8' })
        .trim()
        .split('\n');
      assert.deepEqual(
        root.filter((name) => !['lib', 'lib64', 'usr', 'workerd', 'setpriv', 's'].includes(name)),
        [],
      );
    }
  });
});
