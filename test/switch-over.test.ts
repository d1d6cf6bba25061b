/** Deploys and rollbacks while requests come in: none fails, none sees an older version after the deploy was acknowledged. */
import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from './harness.ts';

const edge = await startEdge();
after(() => edge.close());
const host = edge.host('busy');
const base = `/accounts/${edge.accountId}/workers/scripts/busy`;

async function put(n: number) {
  const form = new FormData();
  form.set('metadata', JSON.stringify({ main_module: 'index.js', compatibility_date: '2026-11-01' }));
  const source = `export default { async fetch(r) { const body = await r.text(); return new Response('${n}' + body) } }`;
  form.set('index.js', new File([source], 'index.js', { type: 'application/javascript+module' }));
  const { status, body } = await edge.api(base, { method: 'PUT', body: form });
  assert.equal(status, 200, JSON.stringify(body));
}

it('20 deploys and rollbacks under load fail no request', async () => {
  await put(0);
  await edge.api(`${base}/subdomain`, { method: 'POST', body: { enabled: true } });
  let live = true;
  const failures: string[] = [];
  let requests = 0;
  const loops = Array.from({ length: 8 }, async (_, i) => {
    while (live) {
      const answer = await edge
        .request(host, '/', i % 2 ? { method: 'POST', body: 'x'.repeat(5000) } : {})
        .catch((error) => ({ status: 0, text: String(error) }));
      requests++;
      if (answer.status !== 200) failures.push(`${answer.status} ${answer.text.slice(0, 300)}`);
    }
  });
  for (let n = 1; n <= 10; n++) {
    await put(n);
    assert.equal((await edge.request(host)).text, String(n));
    const { result } = (await edge.api(`${base}/deployments`)).body;
    const previous = result.deployments[1].versions[0].version_id;
    const back = await edge.api(`${base}/deployments`, {
      method: 'POST',
      body: { strategy: 'percentage', versions: [{ version_id: previous, percentage: 100 }] },
    });
    assert.equal(back.status, 200);
    assert.notEqual((await edge.request(host)).text, String(n));
  }
  live = false;
  await Promise.all(loops);
  assert.deepEqual(failures, []);
  assert.ok(requests > 100, `${requests} requests`);
});
