import assert from 'node:assert/strict';
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';

const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });
const host = edge.host('workers-site');

it('serves pages, with and without their extension, and files by their type', async () => {
  assert.match((await edge.request(host)).text, /<h1>A site in KV<\/h1>/);
  for (const path of ['/posts/first', '/posts/first.html']) {
    const { status, text, headers } = await edge.request(host, path);
    assert.deepEqual([status, headers['content-type']], [200, 'text/html; charset=utf-8']);
    assert.match(text, /The first post/);
    assert.match(String(headers['server-timing']), /^kv;dur=\d+$/);
  }
  assert.match(String((await edge.request(host, '/style.css')).headers['content-type']), /^text\/css/);
});

it('has a page for what is not there', async () => {
  const { status, text } = await edge.request(host, '/nowhere');
  assert.deepEqual([status, /<h1>Not here<\/h1>/.test(text)], [404, true]);
});

it('changes with a deploy, which uploads what is new only', async () => {
  const cwd = await edge.project({}, {});
  for (const name of ['src', 'public', 'wrangler.jsonc']) {
    cpSync(join(import.meta.dirname, name), join(cwd, name), { recursive: true });
  }
  writeFileSync(join(cwd, 'public/posts/first.html'), '<h1>Rewritten</h1>');
  const output = await edge.deployed(['deploy'], { cwd });
  assert.match(output, /Uploading 1 new asset/);
  assert.equal((await edge.request(host, '/posts/first')).text, '<h1>Rewritten</h1>');
});
