import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { browse } from '../../test/browser.ts';
import { eventually, startEdge } from '../../test/harness.ts';

const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });
const host = edge.host('real-user-metrics');

const beacon = (body: unknown) =>
  edge.request(host, '/beacon', {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    headers: { 'content-type': 'text/plain;charset=UTF-8' },
  });
const report = async () => (await edge.request(host, '/report')).json();
const near = (value: number, expected: number) =>
  assert.ok(Math.abs(value - expected) <= expected * 0.03, `${value} is not near ${expected}`);

it('tells p50 and p95 of each page from all beacons, which it sent on in few batches to several shards', async () => {
  for (let round = 0; round < 3; round++) {
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        beacon(i % 4 === 0 ? { page: '/slow', LCP: 8_000 } : { page: '/', LCP: 10 * (i + 1), CLS: 0 }),
      ),
    );
    assert.ok(answers.every(({ status }) => status === 204));
    await eventually(async () => (await report()).pages['/slow']?.LCP.count === 25 * (round + 1));
  }
  const { pages, batches } = await eventually(async () => {
    const now = await report();
    return now.pages['/'].LCP.count === 225 && now;
  });
  assert.deepEqual(Object.keys(pages).sort(), ['/', '/slow']);
  near(pages['/'].LCP.p50, 510);
  near(pages['/'].LCP.p95, 960);
  near(pages['/slow'].LCP.p95, 8_000);
  assert.deepEqual(pages['/'].CLS, { count: 225, p50: 0, p95: 0 });
  const used = batches.filter((n: number) => n > 0).length;
  const total = batches.reduce((sum: number, n: number) => sum + n, 0);
  assert.ok(used >= 3 && total < 60, `${total} batches to ${used} shards`);
});

it('takes no beacon that is none', async () => {
  for (const body of [
    '',
    'x',
    'null',
    '[]',
    { page: '/' },
    { page: 'x', LCP: 1 },
    { page: '/', LCP: -1 },
    { page: '/', LCP: '1' },
    { page: '/', LCP: 1e9 },
    { page: `/${'x'.repeat(300)}`, LCP: 1 },
    { page: '/', LCP: 1, more: 'x'.repeat(3_000) },
  ]) {
    assert.equal((await beacon(body)).status, 400, JSON.stringify(body));
  }
});

it('hears of a page in a browser when its visitor leaves', async (t) => {
  const before = (await report()).pages['/'].TTFB?.count ?? 0;
  await browse(t, `http://${host}:${edge.http}/`, async (page) => {
    await page.waitForFunction('seen.FCP !== undefined');
    await page.goto('about:blank');
    await eventually(async () => (await report()).pages['/'].TTFB?.count === before + 1);
  });
});
