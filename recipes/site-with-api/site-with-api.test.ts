import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { browse } from '../../test/browser.ts';
import { startEdge } from '../../test/harness.ts';

const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });
const host = edge.host('site-with-api');

it('answers files, and its own page for what is not there', async () => {
  const page = await edge.request(host);
  assert.match(page.text, /<h1>Greetings/);
  assert.match(String(page.headers['content-type']), /^text\/html/);
  assert.match(String((await edge.request(host, '/style.css')).headers['content-type']), /^text\/css/);
  const missing = await edge.request(host, '/nowhere');
  assert.equal(missing.status, 404);
  assert.match(missing.text, /no such page/);
});

it('answers calls of the API', async () => {
  assert.deepEqual((await edge.request(host, '/api/greeting?name=Ada')).json(), { greeting: 'Hello, Ada!' });
  assert.equal((await edge.request(host, '/api/greeting')).status, 400);
  assert.equal((await edge.request(host, '/api/other')).status, 404);
});

it('shows in a browser what the API says', async (t) => {
  await browse(t, `http://${host}:${edge.http}/`, async (page) => {
    await page.waitForFunction("document.getElementById('greeting').textContent === 'Hello, Ada!'");
  });
});
