import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { browse } from '../../test/browser.ts';
import { build } from '../../test/built.ts';
import { startEdge } from '../../test/harness.ts';

build(import.meta.dirname);
const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });
const host = edge.host('react-spa');
const site = `http://${host}:${edge.http}`;
const titled = (text: string) => `document.getElementById('title')?.textContent === ${JSON.stringify(text)}`;

it('answers every path of the application with its page, and the API beside it', async () => {
  for (const path of ['/', '/books/1', '/any/where']) {
    const { status, text } = await edge.request(host, path, { headers: { 'sec-fetch-mode': 'navigate' } });
    assert.equal(status, 200);
    assert.match(text, /<div id="root">/);
  }
  assert.deepEqual((await edge.request(host, '/api/books/1')).json(), { title: 'Flatland' });
  assert.equal((await edge.request(host, '/api/books/9')).status, 404);
});

it('goes from page to page in a browser without loading another, and back', async (t) => {
  await browse(t, `${site}/`, async (page) => {
    let loads = 0;
    page.on('request', (request) => {
      if (request.isNavigationRequest()) loads++;
    });
    await page.click('text=The first');
    await page.waitForFunction(titled('Flatland'));
    assert.equal(new URL(page.url()).pathname, '/books/1');
    await page.goBack();
    await page.waitForFunction(titled('Books'));
    assert.equal(loads, 0);
  });
});

it('opens in the middle by a deep link', async (t) => {
  await browse(t, `${site}/books/2`, async (page) => {
    await page.waitForFunction(titled('Erewhon'));
  });
});
