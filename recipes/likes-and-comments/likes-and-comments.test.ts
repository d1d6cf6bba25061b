import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { browse } from '../../test/browser.ts';
import { startEdge } from '../../test/harness.ts';

const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });
const host = edge.host('likes-and-comments');

const likes = async () => Number(/<output data-likes>(\d+)</.exec((await edge.request(host, '/first')).text)?.[1]);
const post = (path: string, body = '', cookie = '') =>
  edge.request(host, path, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...(cookie && { cookie }) },
  });

it('counts every like of 100 at once, and each browser once', async () => {
  assert.equal(await likes(), 0);
  const answers = await Promise.all(Array.from({ length: 100 }, () => post('/first?like')));
  assert.ok(answers.every(({ status }) => status === 303));
  assert.equal(await likes(), 100);
  const [cookie] = answers[0]!.headers['set-cookie'] as unknown as string[];
  for (let i = 0; i < 3; i++) await post('/first?like', '', cookie!.split(';')[0]);
  assert.equal(await likes(), 100);
});

it('shows comments in the page, as text', async () => {
  const body = new URLSearchParams({ name: 'Eve', text: '<script>alert(1)</script>' }).toString();
  assert.equal((await post('/first?comment', body)).status, 303);
  const { text, headers } = await edge.request(host, '/first');
  assert.match(text, /<b>Eve<\/b>: &#60;script&#62;alert\(1\)/);
  assert.equal(headers['cache-control'], 'no-store');
  assert.equal((await post('/first?comment', 'name=&text=')).status, 400);
});

it('makes no object for a page that is not there', async () => {
  assert.equal((await post('/nowhere?like')).status, 404);
  const { body } = await edge.api(`/accounts/${edge.accountId}/workers/durable_objects/namespaces`);
  const objects = `/accounts/${edge.accountId}/workers/durable_objects/namespaces/${body.result[0].id}/objects`;
  assert.equal((await edge.api(objects)).body.result.length, 1);
});

it('works in a browser, without a script', async (t) => {
  await browse(t, `http://${host}:${edge.http}/first`, async (page) => {
    await page.click('text=Like');
    await page.fill('[name=name]', 'Ada');
    await page.fill('[name=text]', 'Well said');
    await page.click('text=Send');
    await page.waitForSelector('text=Well said');
    assert.equal(await page.textContent('[data-likes]'), '101');
  });
});
