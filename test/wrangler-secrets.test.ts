/** Secrets by the real wrangler: they reach the Worker and nothing else. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { startEdge } from './harness.ts';

const edge = await startEdge({ env: { SELVEDGE_LOG: 'debug' } });
after(() => edge.close());
const host = edge.host('vault');
const SECRET = 'tr0ub4dor-and-three';
const source = 'export default { fetch(r, env) { return Response.json({ A: env.A, B: env.B, C: env.C, V: env.V }) } }';
const cwd = await edge.project(
  { name: 'vault', main: 'index.js', compatibility_date: '2026-11-01', vars: { V: 'var' } },
  { 'index.js': source },
);
const env = async () => (await edge.request(host)).json<Record<string, string>>();

it('put makes a Worker that does not exist, and deploy keeps its secret', async () => {
  await edge.deployed(['secret', 'put', 'A', '--name', 'vault'], { cwd, input: SECRET });
  await edge.deployed(['deploy'], { cwd });
  assert.deepEqual(await env(), { A: SECRET, V: 'var' });
});

it('put is live when it returns', async () => {
  await edge.deployed(['secret', 'put', 'A'], { cwd, input: `${SECRET}-2` });
  assert.equal((await env()).A, `${SECRET}-2`);
});

it('bulk sets several, list names them without values, delete removes one', async () => {
  await edge.deployed(['secret', 'bulk'], { cwd, input: JSON.stringify({ B: `${SECRET}-b`, C: `${SECRET}-c` }) });
  assert.deepEqual(await env(), { A: `${SECRET}-2`, B: `${SECRET}-b`, C: `${SECRET}-c`, V: 'var' });
  const listed = await edge.deployed(['secret', 'list'], { cwd });
  assert.deepEqual(
    JSON.parse(listed)
      .map(({ name }: { name: string }) => name)
      .sort(),
    ['A', 'B', 'C'],
  );
  assert.doesNotMatch(listed, /tr0ub4dor/);
  await edge.deployed(['secret', 'delete', 'B'], { cwd });
  assert.deepEqual(await env(), { A: `${SECRET}-2`, C: `${SECRET}-c`, V: 'var' });
});

it('they survive a deploy', async () => {
  await edge.deployed(['deploy'], { cwd });
  assert.equal((await env()).A, `${SECRET}-2`);
});

it('no route of the API returns them', async () => {
  const base = `/accounts/${edge.accountId}/workers/scripts/vault`;
  const versions = (await edge.api(`${base}/versions`)).body.result.items as { id: string }[];
  const paths = [
    base,
    `${base}/settings`,
    `${base}/secrets`,
    `${base}/deployments`,
    `${base}/versions`,
    ...versions.map(({ id }) => `${base}/versions/${id}`),
  ];
  for (const path of paths) {
    const response = await fetch(edge.apiUrl + path, { headers: { authorization: `Bearer ${edge.token}` } });
    assert.doesNotMatch(await response.text(), /tr0ub4dor/, path);
  }
});

it('no file and no log line has them in plain text', () => {
  assert.doesNotMatch(edge.output(), /tr0ub4dor/);
  for (const file of readdirSync(edge.dataDir, { recursive: true, withFileTypes: true })) {
    if (!file.isFile()) continue;
    assert.ok(!readFileSync(join(file.parentPath, file.name)).includes('tr0ub4dor'), file.name);
  }
});
