/** `wrangler deploy`: what kinds of Workers it deploys, with which configuration, and what it refuses. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { startEdge } from './harness.ts';

const edge = await startEdge();
after(() => edge.close());
const DATE = '2026-11-01';
const wasm = readFileSync(join(import.meta.dirname, '../recipes/wasm-program/src/primes.wasm'));

async function deploy(
  config: Record<string, unknown>,
  files: Record<string, string | Buffer>,
  args: string[] = [],
  env = {},
) {
  const cwd = await edge.project({ compatibility_date: DATE, ...config }, files);
  return { cwd, output: await edge.deployed(['deploy', ...args], { cwd, env }) };
}

it('whoami names the account', async () => {
  const output = await edge.deployed(['whoami']);
  assert.match(output, new RegExp(edge.accountId));
});

describe('wrangler deploy', () => {
  it('deploys modules with Wasm, text and data beside them, and says which version is live', async () => {
    const { output } = await deploy(
      { name: 'kinds', main: 'index.js' },
      {
        'index.js': `import wasm from './primes.wasm'; import text from './hello.txt'; import data from './bytes.bin';
          const { exports } = new WebAssembly.Instance(wasm);
          export default { fetch() { return Response.json({ primes: exports.count_primes(100), text, data: [...new Uint8Array(data)] }) } }`,
        'primes.wasm': wasm,
        'hello.txt': 'grüße',
        'bytes.bin': Buffer.from([0, 255, 13, 10]),
      },
    );
    assert.match(output, /Current Version ID: [0-9a-f]{8}-/);
    assert.match(output, new RegExp(edge.host('kinds')));
    assert.deepEqual((await edge.request(edge.host('kinds'))).json(), {
      primes: 25,
      text: 'grüße',
      data: [0, 255, 13, 10],
    });
  });

  it('deploys scripts in the service-worker format, with bindings as globals', async () => {
    await deploy(
      {
        name: 'old-style',
        main: 'index.js',
        vars: { GREETING: 'hi' },
        wasm_modules: { PRIMES: 'primes.wasm' },
        text_blobs: { NOTE: 'note.txt' },
      },
      {
        'index.js': `addEventListener('fetch', (event) => event.respondWith(new Response(
          GREETING + ' ' + NOTE + ' ' + new WebAssembly.Instance(PRIMES).exports.count_primes(10))));`,
        'primes.wasm': wasm,
        'note.txt': 'from a blob',
      },
    );
    assert.equal((await edge.request(edge.host('old-style'))).text, 'hi from a blob 4');
  });

  it('deploys TypeScript with dependencies from npm', async () => {
    await deploy(
      { name: 'typed', main: 'index.ts' },
      {
        'index.ts':
          "import { Hono } from 'hono'; const app = new Hono(); app.get('/:n', (c) => c.text(`n is ${c.req.param('n') satisfies string}`)); export default app;",
      },
    );
    assert.equal((await edge.request(edge.host('typed'), '/7')).text, 'n is 7');
  });

  it('gives each environment its own Worker and variables', async () => {
    const config = {
      name: 'many',
      main: 'index.js',
      vars: { STAGE: 'production', FLAGS: { beta: false } },
      env: { staging: { vars: { STAGE: 'staging', FLAGS: { beta: true, list: [1, 'two'] } } } },
    };
    const files = { 'index.js': 'export default { fetch(r, env) { return Response.json([env.STAGE, env.FLAGS]) } }' };
    const { cwd } = await deploy(config, files, ['--env', '']);
    await edge.deployed(['deploy', '--env', 'staging'], { cwd });
    assert.deepEqual((await edge.request(edge.host('many'))).json(), ['production', { beta: false }]);
    assert.deepEqual((await edge.request(edge.host('many-staging'))).json(), [
      'staging',
      { beta: true, list: [1, 'two'] },
    ]);
  });

  it('tells a Worker its version', async () => {
    const { output } = await deploy(
      { name: 'versioned', main: 'index.js', version_metadata: { binding: 'META' } },
      { 'index.js': 'export default { fetch(r, env) { return Response.json(env.META) } }' },
      ['--tag', 'v1.2', '--message', 'first'],
    );
    const meta = (await edge.request(edge.host('versioned'))).json();
    assert.equal(meta.id, /Current Version ID: (\S+)/.exec(output)?.[1]);
    assert.equal(meta.tag, 'v1.2');
    assert.ok(Date.parse(meta.timestamp) > 0);
  });

  it('honours compatibility dates and flags', async () => {
    const source = `import process from 'node:process'; export default { fetch() { return new Response(typeof process.nextTick + ' ' + navigator.userAgent) } }`;
    await deploy(
      { name: 'compat', main: 'index.js', compatibility_date: '2024-09-23', compatibility_flags: ['nodejs_compat'] },
      { 'index.js': source },
    );
    assert.equal((await edge.request(edge.host('compat'))).text, 'function Cloudflare-Workers');
    const old = 'export default { fetch() { return new Response(typeof navigator) } }';
    await deploy({ name: 'ancient', main: 'index.js', compatibility_date: '2021-11-02' }, { 'index.js': old });
    assert.equal((await edge.request(edge.host('ancient'))).text, 'undefined');
  });

  it('accepts limits, observability and smart placement, and says again what it was told', async () => {
    const config = {
      name: 'settings',
      main: 'index.js',
      limits: { cpu_ms: 50 },
      observability: { enabled: true, head_sampling_rate: 0.5 },
      placement: { mode: 'smart' },
    };
    await deploy(config, { 'index.js': 'export default { fetch() { return new Response("ok") } }' });
    const { body } = await edge.api(`/accounts/${edge.accountId}/workers/scripts/settings/settings`);
    assert.equal(body.result.placement.mode, 'smart');
    assert.equal(body.result.limits.cpu_ms, 50);
    assert.equal((await edge.request(edge.host('settings'))).text, 'ok');
  });

  it('replaces the Worker when it is deployed again, also without workers.dev', async () => {
    const source = (n: number) => ({ 'index.js': `export default { fetch() { return new Response("${n}") } }` });
    await deploy({ name: 'again', main: 'index.js' }, source(1));
    assert.equal((await edge.request(edge.host('again'))).text, '1');
    await deploy({ name: 'again', main: 'index.js' }, source(2));
    assert.equal((await edge.request(edge.host('again'))).text, '2');
    await deploy({ name: 'again', main: 'index.js', workers_dev: false, preview_urls: false }, source(3));
    assert.equal((await edge.request(edge.host('again'))).status, 404);
  });
});

describe('wrangler deploy refuses', () => {
  async function refused(config: Record<string, unknown>, files: Record<string, string>): Promise<string> {
    const cwd = await edge.project({ name: 'refused', main: 'index.js', compatibility_date: DATE, ...config }, files);
    const { code, stdout, stderr } = await edge.wrangler(['deploy', '--no-bundle'], { cwd });
    assert.notEqual(code, 0, stdout);
    return stdout + stderr;
  }
  const fine = { 'index.js': 'export default { fetch() { return new Response("ok") } }' };

  it('a script that throws at start, with message and place', async () => {
    const output = await refused(
      {},
      { 'index.js': 'const a = 1;\nthrow new Error("not today");\nexport default { fetch() {} }' },
    );
    assert.match(output, /not today/);
    assert.match(output, /index\.js:2/);
    assert.match(output, /10021/);
  });

  it('a script that does not compile, with message and place', async () => {
    const output = await refused(
      {},
      { 'index.js': 'const fine = 1;\nexport default { fetch() { return new Response(/(/.test(fine)) } }' },
    );
    assert.match(output, /SyntaxError/);
    assert.match(output, /index\.js:/);
  });

  it('a script that takes too long to start', async () => {
    const output = await refused(
      {},
      {
        'index.js':
          'const end = 1e10; let x = 0; for (let i = 0; i < end; i++) x += i; export default { fetch() { return new Response(x) } }',
      },
    );
    assert.match(output, /startup exceeded CPU time limit/);
  });

  for (const [product, config] of [
    ['Workers AI', { ai: { binding: 'STORE' } }],
    ['Hyperdrive', { hyperdrive: [{ binding: 'STORE', id: 'a'.repeat(32) }] }],
  ] as const) {
    it(`a binding of ${product}, by name`, async () => {
      const output = await refused(config, fine);
      assert.match(output, new RegExp(`STORE.*${product}|${product}.*STORE`, 's'));
    });
  }

  it('a service binding to a Worker that is not there', async () => {
    assert.match(await refused({ services: [{ binding: 'API', service: 'nowhere' }] }, fine), /nowhere/);
  });

  it('limits above those of the plan', async () => {
    assert.match(await refused({ limits: { cpu_ms: 9_000_000 } }, fine), /at most 300000/);
  });

  it('and then there is no such Worker', async () => {
    assert.equal((await edge.request(edge.host('refused'))).status, 404);
  });
});
