import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { browse } from '../../test/browser.ts';
import { build } from '../../test/built.ts';
import { startEdge } from '../../test/harness.ts';

build(import.meta.dirname);
const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });
const host = edge.host('ssr');
const site = `http://${host}:${edge.http}`;

it('renders a page on the server', async () => {
  const { status, text } = await edge.request(host);
  assert.equal(status, 200);
  assert.match(text, /<h1>Rendered for XX<\/h1>/);
});

it('has endpoints with parameters, static files, and pages for what is not there', async () => {
  assert.deepEqual((await edge.request(host, '/hello/ada')).json(), { hello: 'ada' });
  assert.match((await edge.request(host, '/robots.txt')).text, /^User-agent/);
  assert.equal((await edge.request(host, '/nowhere')).status, 404);
});

it('takes forms without any script', async () => {
  const { text } = await edge.request(host, '/', {
    method: 'POST',
    body: 'name=Ada',
    headers: { 'content-type': 'application/x-www-form-urlencoded', origin: `http://${host}`, accept: 'text/html' },
  });
  assert.match(text, /Thank you, Ada!/);
});

it('comes alive in a browser', async (t) => {
  await browse(t, `${site}/`, async (page) => {
    const button = page.locator('button').first();
    // Before its script has run a press does nothing: press until it does.
    await page.waitForFunction(`(() => {
      const pressed = document.querySelector('button');
      pressed.click();
      return Number(pressed.textContent) > 0;
    })()`);
    assert.ok(Number(await button.textContent()) > 0);
    await page.fill('input[name=name]', 'Grace');
    await page.click('#send');
    await page.waitForFunction("document.getElementById('thanks')?.textContent === 'Thank you, Grace!'");
  });
});
