import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';

const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });
const host = edge.host('hono-app');

it('answers its routes, through its middleware', async () => {
  const { text, headers } = await edge.request(host);
  assert.equal(text, 'Hello from Hono');
  assert.equal(headers['x-content-type-options'], 'nosniff');
  assert.equal((await edge.request(host, '/nothing')).status, 404);
});

it('uses Node’s modules', async () => {
  const { sha256 } = (await edge.request(host, '/hash/abc')).json<{ sha256: string }>();
  assert.equal(sha256, 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
});

it('takes JSON and refuses what is none', async () => {
  const made = await edge.request(host, '/notes', { method: 'POST', body: JSON.stringify({ text: 'buy milk' }) });
  assert.equal(made.status, 201);
  assert.equal(made.headers.location, `/notes/${made.json<{ id: string }>().id}`);
  assert.equal((await edge.request(host, '/notes', { method: 'POST', body: '{' })).status, 400);
});

it('streams', async () => {
  assert.equal((await edge.tls(host, '/stream', { http2: true })).text, 'line 1\nline 2\nline 3\n');
});
