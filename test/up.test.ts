/** `selvedge up`: the first five minutes, a second start, and what it says when something is wrong. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { selvedge, startEdge } from './harness.ts';

const directory = await mkdtemp(join(tmpdir(), 'selvedge-up-'));
const dataDir = join(directory, 'data');
after(() => rm(directory, { recursive: true, force: true }));
const ANY_PORTS = ['--http', '0', '--https', '0', '--api', '0', '--s3', '0'];

let edge = await startEdge({ dataDir });
after(() => edge.close());
const first = { accountId: edge.accountId, token: edge.token };

it('the first start says where everything is', () => {
  for (const text of [
    `:${edge.http}`,
    `:${edge.https}`,
    edge.apiUrl,
    edge.accountId,
    edge.token,
    'Sandbox',
    'export CLOUDFLARE_API_TOKEN',
  ]) {
    assert.ok(edge.output().includes(text), text);
  }
});

it('it warns once of running as root', () => {
  assert.equal(edge.output().match(/runs as root/g)?.length ?? 0, process.getuid?.() === 0 ? 1 : 0);
});

it('wrangler.env can be sourced and is for its owner only', () => {
  const path = join(dataDir, 'wrangler.env');
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const sourced = execFileSync('sh', ['-c', `. ${path}; printf %s "$CLOUDFLARE_API_TOKEN"`], { encoding: 'utf8' });
  assert.equal(sourced, edge.token);
});

it('the welcome Worker answers over HTTP, HTTPS and HTTP/2', async () => {
  const host = edge.host('welcome');
  assert.match((await edge.request(host)).text, /<html/);
  for (const http2 of [false, true]) assert.equal((await edge.tls(host, '/', { http2 })).status, 200);
});

it('a host that nobody owns gets a clear 404', async () => {
  const { status, text } = await edge.request('nobody.example');
  assert.equal(status, 404);
  assert.match(text, /nobody\.example/);
});

it('the OpenAPI document lists what is served', async () => {
  const document = (await (await fetch(`${edge.apiUrl.replace('/client/v4', '')}/openapi.json`)).json()) as any;
  assert.ok(document.paths['/client/v4/accounts/{account_id}/workers/scripts/{script_name}']);
});

it('status and doctor tell what there is', async () => {
  const status = await edge.selvedge(['status']);
  assert.match(status.stdout, /welcome/);
  const doctor = await edge.selvedge(['doctor', '--json']);
  assert.ok(JSON.parse(doctor.stdout).some(({ what }: { what: string }) => what === 'sandbox'));
});

it('selvedge wrangler passes commands through', async () => {
  const { code, stdout } = await selvedge(['wrangler', '--data', dataDir, '--', 'whoami']);
  assert.equal(code, 0, stdout);
  assert.match(stdout, new RegExp(edge.accountId));
});

it('a second `up` on the same directory is refused in one line', async () => {
  const { code, stderr } = await selvedge(['up', '--data', dataDir, ...ANY_PORTS]);
  assert.notEqual(code, 0);
  assert.match(stderr.trim(), /^selvedge: .*in use by.*$/);
});

it('a busy port is named with the option that changes it', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const { code, stderr } = await selvedge([
    'up',
    '--data',
    join(directory, 'other'),
    '--http',
    String(port),
    '--https',
    '0',
    '--api',
    '0',
    '--s3',
    '0',
  ]);
  server.close();
  assert.notEqual(code, 0);
  assert.match(stderr.trim(), new RegExp(`^selvedge: .*${port}.*--http.*$`));
});

it('SIGTERM drains: a request that is open is answered, then everything is gone', async () => {
  const cwd = await edge.project(
    { name: 'slow', main: 'index.js', compatibility_date: '2026-11-01' },
    {
      'index.js':
        'export default { async fetch() { await new Promise((r) => setTimeout(r, 1000)); return new Response("slow but sure") } }',
    },
  );
  await edge.deployed(['deploy'], { cwd });
  const { runDir } = JSON.parse(readFileSync(join(dataDir, 'running.json'), 'utf8'));
  const answer = edge.request(edge.host('slow'));
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal(await edge.stop(), 0);
  assert.equal((await answer).text, 'slow but sure');
  assert.equal(existsSync(runDir), false);
  assert.equal(existsSync(join(dataDir, 'running.json')), false);
});

it('a second start finds everything as it was and shows no token', async () => {
  edge = await startEdge({ dataDir });
  assert.deepEqual({ accountId: edge.accountId, token: edge.token }, first);
  assert.doesNotMatch(edge.output(), /API token/);
  assert.equal((await edge.request(edge.host('slow'))).text, 'slow but sure');
  assert.equal((await edge.api('/accounts')).status, 200);
  await edge.stop();
});

for (const file of ['ledger.sqlite', 'secret.key', 'usage.sqlite']) {
  it(`a damaged ${file} is named in one line`, async () => {
    const path = join(dataDir, file);
    const whole = readFileSync(path);
    for (const suffix of ['-wal', '-shm']) await rm(path + suffix, { force: true });
    writeFileSync(path, 'x'.repeat(5000));
    const { code, stderr } = await selvedge(['up', '--data', dataDir, ...ANY_PORTS]);
    writeFileSync(path, whole);
    assert.notEqual(code, 0);
    assert.match(stderr.trim(), new RegExp(`^selvedge: .*${file}.*damaged.*$`));
  });
}
