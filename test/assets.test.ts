/** Static assets end to end: folders deployed by the real wrangler, answered over HTTP by the edge and through the ASSETS binding. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Edge, startEdge } from './harness.ts';

const COMPATIBILITY = { compatibility_date: '2026-01-01' };
let edge: Edge;
before(async () => {
  edge = await startEdge();
});
after(() => edge?.close());

async function deploy(
  name: string,
  assets: Record<string, unknown>,
  files: Record<string, string | Buffer>,
  more = {},
): Promise<string> {
  const directory = await edge.project(
    { name, ...COMPATIBILITY, ...more, assets: { directory: './public', ...assets } },
    files,
  );
  await edge.deployed(['deploy'], { cwd: directory });
  return directory;
}

test('a folder without a Worker is a web site', async () => {
  const large = Buffer.from(Array.from({ length: 2_000_000 }, (_, i) => i % 251));
  await deploy(
    'site',
    { not_found_handling: '404-page' },
    {
      'public/index.html': '<h1>home</h1>',
      'public/about.html': '<h1>about</h1>',
      'public/blog/index.html': '<h1>blog</h1>',
      'public/blog/404.html': '<h1>no such post</h1>',
      'public/404.html': '<h1>nothing here</h1>',
      'public/style.css': 'body { color: teal }',
      'public/a name [1].txt': 'odd name',
      'public/large.bin': large,
      'public/_headers':
        '/*\n  X-Served-By: selvedge\n/style.css\n  Cache-Control: public, max-age=31536000, immutable\n',
      'public/_redirects': '/old /about 301\n/posts/* /blog/:splat 302\n/people/:name /about 200\n',
    },
  );
  const host = edge.host('site');

  const home = await edge.request(host, '/');
  assert.equal(home.status, 200);
  assert.equal(home.text, '<h1>home</h1>');
  assert.equal(home.headers['content-type'], 'text/html; charset=utf-8');
  assert.equal(home.headers['cache-control'], 'public, max-age=0, must-revalidate');
  assert.equal(home.headers['x-served-by'], 'selvedge');
  const etag = home.headers.etag!;
  assert.match(etag, /^"[0-9a-f]{32}"$/);
  assert.equal((await edge.request(host, '/', { headers: { 'if-none-match': etag } })).status, 304);
  const head = await edge.request(host, '/', { method: 'HEAD' });
  assert.deepEqual([head.status, head.headers['content-length'], head.text], [200, '13', '']);
  assert.equal((await edge.request(host, '/', { method: 'POST', body: 'x' })).status, 405);

  const moves: [string, number, string][] = [
    ['/about.html?x=1', 307, '/about?x=1'],
    ['/about/', 307, '/about'],
    ['/blog', 307, '/blog/'],
    ['/index.html', 307, '/'],
    ['/a%20name%20[1].txt', 307, '/a%20name%20%5B1%5D.txt'],
    ['/old', 301, '/about'],
    ['/posts/7?x=1', 302, '/blog/7?x=1'],
  ];
  for (const [path, status, location] of moves) {
    const moved = await edge.request(host, path);
    assert.deepEqual([moved.status, moved.headers.location], [status, location], path);
  }
  assert.equal((await edge.request(host, '/about')).text, '<h1>about</h1>');
  assert.equal((await edge.request(host, '/people/ada')).text, '<h1>about</h1>');
  assert.equal((await edge.request(host, '/a%20name%20%5B1%5D.txt')).text, 'odd name');
  const style = await edge.request(host, '/style.css');
  assert.equal(style.headers['cache-control'], 'public, max-age=31536000, immutable');

  const missing = await edge.request(host, '/nowhere');
  assert.deepEqual([missing.status, missing.text], [404, '<h1>nothing here</h1>']);
  assert.equal((await edge.request(host, '/blog/nowhere')).text, '<h1>no such post</h1>');
  for (const path of [
    '/_headers',
    '/_redirects',
    '/../../etc/passwd',
    '/%2e%2e/%2e%2e/etc/passwd',
    '/..%2f..%2fetc/passwd',
    '/%00',
  ]) {
    const answer = await edge.request(host, path);
    assert.ok([307, 400, 404].includes(answer.status), `${path}: ${answer.status}`);
    assert.ok(!answer.text.includes('root:'), path);
  }

  const whole = await edge.request(host, '/large.bin');
  assert.equal(sha256(whole.bytes), sha256(large));
  const part = await edge.request(host, '/large.bin', { headers: { range: 'bytes=1000000-1000009' } });
  assert.deepEqual([part.status, part.headers['content-range']], [206, 'bytes 1000000-1000009/2000000']);
  assert.deepEqual(part.bytes, large.subarray(1_000_000, 1_000_010));
  assert.equal((await edge.request(host, '/large.bin', { headers: { range: 'bytes=2000000-' } })).status, 416);
  const overTls = await edge.tls(host, '/about', { http2: true });
  assert.deepEqual([overTls.status, overTls.text], [200, '<h1>about</h1>']);
});

test('a second deploy uploads what changed only, and what is gone is gone', async () => {
  const directory = await deploy('changing', {}, { 'public/a.txt': 'a1', 'public/b.txt': 'b1', 'public/c.txt': 'c1' });
  await writeFile(join(directory, 'public/b.txt'), 'b2');
  await rm(join(directory, 'public/c.txt'));
  const output = await edge.deployed(['deploy'], { cwd: directory });
  assert.match(output, /1 already uploaded/);
  const host = edge.host('changing');
  assert.equal((await edge.request(host, '/a.txt')).text, 'a1');
  assert.equal((await edge.request(host, '/b.txt')).text, 'b2');
  assert.equal((await edge.request(host, '/c.txt')).status, 404);
  assert.match(await edge.deployed(['deploy'], { cwd: directory }), /No updated asset files/);
});

const APP = `export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    if (url.pathname === '/api/asset') return env.ASSETS.fetch(new URL(url.searchParams.get('path'), 'https://assets.local'));
    if (url.pathname === '/api/same') return env.ASSETS.fetch(new Request(new URL('/', url), request));
    return new Response('worker ' + request.method + ' ' + url.pathname);
  },
};`;

test('with a Worker: files first, then the Worker, which reads files through its binding', async () => {
  const large = Buffer.alloc(1_500_000, 'z');
  await deploy(
    'app',
    { binding: 'ASSETS', not_found_handling: 'single-page-application' },
    { 'public/index.html': 'app shell', 'public/logo.svg': '<svg/>', 'public/large.txt': large, 'index.js': APP },
    { main: 'index.js' },
  );
  const host = edge.host('app');
  assert.equal((await edge.request(host, '/')).text, 'app shell');
  assert.equal((await edge.request(host, '/logo.svg')).headers['content-type'], 'image/svg+xml');
  assert.equal((await edge.request(host, '/api/users')).text, 'worker GET /api/users');
  assert.equal((await edge.request(host, '/users/7', { method: 'POST', body: 'x' })).text, 'worker POST /users/7');
  const navigate = { 'sec-fetch-mode': 'navigate' };
  assert.equal((await edge.request(host, '/users/7', { headers: navigate })).text, 'app shell');
  assert.equal((await edge.request(host, '/users/7')).text, 'worker GET /users/7');

  const logo = await edge.request(host, '/api/asset?path=/logo.svg');
  assert.deepEqual([logo.status, logo.text, logo.headers['content-type']], [200, '<svg/>', 'image/svg+xml']);
  assert.equal((await edge.request(host, '/api/asset?path=/large.txt')).bytes.length, large.length);
  assert.equal(
    (await edge.request(host, '/api/asset?path=/whatever')).text,
    'app shell',
    'the binding has not_found_handling',
  );
  const again = await edge.request(host, '/api/same', { headers: { 'if-none-match': logo.headers.etag! } });
  assert.equal(again.text, 'app shell');
});

test('a binding without not_found_handling answers 404', async () => {
  await deploy('plain', { binding: 'ASSETS' }, { 'public/a.txt': 'a', 'index.js': APP }, { main: 'index.js' });
  const missing = await edge.request(edge.host('plain'), '/api/asset?path=/nothing');
  assert.deepEqual([missing.status, missing.text], [404, '']);
});

test('run_worker_first: for all paths, or for patterns with exceptions', async () => {
  const files = {
    'public/index.html': 'home',
    'public/api/docs/a.txt': 'docs',
    'public/api/b.txt': 'never served',
    'index.js': APP,
  };
  await deploy('first', { binding: 'ASSETS', run_worker_first: true }, files, { main: 'index.js' });
  assert.equal((await edge.request(edge.host('first'), '/')).text, 'worker GET /');
  assert.equal((await edge.request(edge.host('first'), '/api/same')).text, 'home');

  await deploy('some', { binding: 'ASSETS', run_worker_first: ['/api/*', '!/api/docs/*'] }, files, {
    main: 'index.js',
  });
  const host = edge.host('some');
  assert.equal((await edge.request(host, '/')).text, 'home');
  assert.equal((await edge.request(host, '/api/b.txt')).text, 'worker GET /api/b.txt');
  assert.equal((await edge.request(host, '/x/../api/b.txt')).text, 'worker GET /api/b.txt');
  assert.equal((await edge.request(host, '/api/docs/a.txt')).text, 'docs');
  assert.equal((await edge.request(host, '/api/docs/none.txt')).status, 404);
});

for (const [mode, page, folder] of [
  ['force-trailing-slash', '/page/', '/folder/'],
  ['drop-trailing-slash', '/page', '/folder'],
  ['none', '/page.html', '/folder/index.html'],
] as const) {
  test(`html_handling: ${mode}`, async () => {
    const name = mode.replace(/-slash/, '');
    await deploy(name, { html_handling: mode }, { 'public/page.html': 'page', 'public/folder/index.html': 'folder' });
    assert.equal((await edge.request(edge.host(name), page)).text, 'page');
    assert.equal((await edge.request(edge.host(name), folder)).text, 'folder');
    const other = await edge.request(edge.host(name), '/page.html');
    if (mode !== 'none') assert.deepEqual([other.status, other.headers.location], [307, page]);
  });
}

test('the files of a version stay with it: a rollback brings the old ones back', async () => {
  const directory = await deploy('rolling', {}, { 'public/index.html': 'first' });
  await writeFile(join(directory, 'public/index.html'), 'second');
  await edge.deployed(['deploy'], { cwd: directory });
  assert.equal((await edge.request(edge.host('rolling'))).text, 'second');
  await edge.deployed(['rollback', '-y'], { cwd: directory });
  assert.equal((await edge.request(edge.host('rolling'))).text, 'first');
});

test('a file over 25 MiB is refused with a clear message', async () => {
  const { status, body } = await edge.api(`/accounts/${edge.accountId}/workers/scripts/big/assets-upload-session`, {
    method: 'POST',
    body: { manifest: { '/big.bin': { hash: 'a'.repeat(32), size: 25 * 1024 * 1024 + 1 } } },
  });
  assert.deepEqual([status, body.errors[0].code], [413, 10302]);
  assert.match(body.errors[0].message, /big\.bin/);
});

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
