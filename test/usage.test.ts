/** Metering, end to end: what was sent and answered is what is counted, per Worker, and survives a restart. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, it } from 'node:test';
import { eventually, startEdge } from './harness.ts';

const origin = createServer((request, response) => {
  request.resume();
  request.on('end', () => response.end('x'.repeat(2000)));
});
await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve));
const originUrl = `http://127.0.0.1:${(origin.address() as AddressInfo).port}/`;
const edge = await startEdge({ args: ['--allow-egress', '127.0.0.0/8'] });
after(async () => {
  await edge.close();
  origin.close();
});

const SOURCE = `export default { async fetch(request) {
  const { pathname } = new URL(request.url);
  const body = await request.text();
  if (pathname === '/fail') throw new Error('bad day');
  if (pathname === '/fetch') await (await fetch(${JSON.stringify(originUrl)}, { method: 'POST', body: 'y'.repeat(3000) })).text();
  return new Response('z'.repeat(1000));
} }`;

interface Row {
  script: string;
  requests: number;
  errors: number;
  subrequests: number;
  egressBytes: number;
  ingressBytes: number;
  durationMs: number;
}

async function usageOf(script: string): Promise<Row | undefined> {
  const { stdout } = await edge.selvedge(['usage', '--json']);
  return (JSON.parse(stdout).rows as Row[]).find((row) => row.script === script);
}

it('requests, errors, subrequests, bytes and time are counted as they were', async () => {
  const config = { name: 'metered', main: 'index.js', compatibility_date: '2026-11-01' };
  await edge.deployed(['deploy'], { cwd: await edge.project(config, { 'index.js': SOURCE }) });
  const host = edge.host('metered');
  for (let i = 0; i < 20; i++) await edge.request(host, '/', { method: 'POST', body: 'b'.repeat(500) });
  for (let i = 0; i < 5; i++) await edge.request(host, '/fail');
  for (let i = 0; i < 3; i++) await edge.request(host, '/fetch');
  // Of another host: nobody's.
  await edge.request('nobody.example');
  const row = await eventually(async () => {
    const found = await usageOf('metered');
    return found && found.requests >= 28 && found.subrequests >= 3 && found;
  });
  assert.deepEqual([row.requests, row.errors, row.subrequests], [28, 5, 3]);
  // Bodies to eyeballs (the error pages are short) and to the origin; then those from eyeballs and from the origin.
  const out = 23 * 1000 + 3 * 3000;
  assert.ok(row.egressBytes >= out && row.egressBytes < out + 5 * 10_000 + 3 * 2000, String(row.egressBytes));
  const received = 20 * 500 + 3 * 2000;
  assert.ok(row.ingressBytes >= received && row.ingressBytes < received + 3 * 2000, String(row.ingressBytes));
  assert.ok(row.durationMs > 0);
});

it('the API says the same to the account, with totals', async () => {
  const response = await fetch(new URL('/selvedge/usage?script=metered', edge.apiUrl), {
    headers: { authorization: `Bearer ${edge.token}` },
  });
  const { result } = (await response.json()) as any;
  assert.deepEqual([result.totals.requests, result.totals.errors], [28, 5]);
  assert.equal(result.rows[0].script, 'metered');
});

it('a stop in order loses nothing', async () => {
  await edge.request(edge.host('metered'));
  await edge.stop();
  assert.equal((await usageOf('metered'))?.requests, 29);
});
