import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { browse } from '../../test/browser.ts';
import { eventually, startEdge } from '../../test/harness.ts';

const edge = await startEdge({ args: ['--max-instances', '1'] });
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });
const host = edge.host('interactive-time');
const summary = async () => (await edge.request(host, '/summary')).json();

it('measures and reports in a browser: interactive only when the work is done', async (t) => {
  await browse(t, `http://${host}:${edge.http}/?work=400`, async (page) => {
    await page.waitForSelector('body[data-measured]');
    assert.match(await page.innerText('#times'), /interactive\s+\d+ ms/);
    const { reports, interactive, firstByte } = await eventually(async () => {
      const now = await summary();
      return now.reports === 1 && now;
    });
    assert.equal(reports, 1);
    assert.ok(interactive >= 400 && interactive > firstByte, String(interactive));
  });
});

it('refuses what is no report', async () => {
  const good = { firstByte: 1, firstPaint: 2, loaded: 3, interactive: 4 };
  const post = async (body: string) => (await edge.request(host, '/report', { method: 'POST', body })).status;
  const before = (await summary()).reports;
  assert.equal(await post(JSON.stringify(good)), 204);
  for (const bad of [
    '',
    'null',
    '[]',
    '{}',
    JSON.stringify({ ...good, loaded: -1 }),
    JSON.stringify({ ...good, loaded: 'x' }),
  ])
    assert.equal(await post(bad), 400, bad);
  assert.equal((await summary()).reports, before + 1);
});
