/** The asset server with real blobs: statuses, headers, ranges, conditions, hostile paths. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import type { AssetConfig, AssetManifest, VersionAssets } from '../../model/documents.ts';
import type { Blobs } from '../../state/blobs.ts';
import { openFileBlobs } from '../../state/file-blobs.ts';
import { createAssetsHandler } from './fetch-binding.ts';
import { type AssetRequest, type AssetServer, createAssetServer } from './serve.ts';

let directory: string;
let blobs: Blobs;
let server: AssetServer;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'assets-'));
  blobs = await openFileBlobs(directory);
  server = createAssetServer({ blobs, cacheBytes: 8 * 1024 * 1024 });
});
after(async () => {
  await blobs.close();
  await rm(directory, { recursive: true });
});

const TYPES: Record<string, string | null> = {
  html: 'text/html',
  css: 'text/css; charset=utf-8',
  png: 'image/png',
  bin: null,
};

async function deploy(
  files: Record<string, string | Buffer>,
  config: Partial<AssetConfig> = {},
): Promise<VersionAssets> {
  const manifest: AssetManifest = {};
  for (const [path, content] of Object.entries(files)) {
    const bytes = Buffer.from(content);
    const { hash } = await blobs.put(bytes);
    const contentType = TYPES[path.split('.').at(-1)!] ?? null;
    manifest[path] = { hash, etag: hash.slice(0, 32), sizeBytes: bytes.length, contentType };
  }
  const { hash } = await blobs.put(Buffer.from(JSON.stringify(manifest)));
  return {
    manifest: hash,
    config: { html_handling: 'auto-trailing-slash', not_found_handling: 'none', run_worker_first: false, ...config },
  };
}

async function get(assets: VersionAssets, target: string, more: Partial<AssetRequest> = {}) {
  const [pathname, query] = target.split('?') as [string, string?];
  const search = query === undefined ? '' : `?${query}`;
  const answer = await server.serve(assets, { method: 'GET', pathname, search, headers: {}, ...more });
  if (!answer) return null;
  const body = answer.body instanceof Readable ? await buffer(answer.body) : answer.body;
  const headers = Object.fromEntries(answer.headers.map(([name, value]) => [name.toLowerCase(), value]));
  return { status: answer.status, headers, text: body === null ? null : body.toString() };
}

test('a file is answered with its type, a strong ETag, its length and the default Cache-Control', async () => {
  const assets = await deploy({ '/index.html': '<h1>hi</h1>', '/a.css': 'a{}', '/x.png': 'png', '/y.bin': 'bin' });
  const page = await get(assets, '/');
  assert.equal(page?.status, 200);
  assert.equal(page.text, '<h1>hi</h1>');
  assert.equal(page.headers['content-type'], 'text/html; charset=utf-8');
  assert.equal(page.headers['content-length'], '11');
  assert.equal(page.headers['cache-control'], 'public, max-age=0, must-revalidate');
  assert.match(page.headers.etag!, /^"[0-9a-f]{32}"$/);
  assert.equal((await get(assets, '/a.css'))?.headers['content-type'], 'text/css; charset=utf-8');
  assert.equal((await get(assets, '/x.png'))?.headers['content-type'], 'image/png');
  assert.equal((await get(assets, '/y.bin'))?.headers['content-type'], undefined);
  assert.equal(await get(assets, '/nothing'), null);
});

test('HEAD is GET without the body; other methods get 405 where an asset is, and nothing elsewhere', async () => {
  const assets = await deploy({ '/index.html': 'page' });
  const head = await get(assets, '/', { method: 'HEAD' });
  assert.deepEqual([head?.status, head?.text, head?.headers['content-length']], [200, null, '4']);
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    assert.equal((await get(assets, '/', { method }))?.status, 405);
    assert.equal(await get(assets, '/nothing', { method }), null);
  }
  assert.equal((await get(assets, '/', { method: 'POST' }))?.headers.allow, 'GET, HEAD');
});

test('If-None-Match: 304 for the strong tag, the weak one, one of several, and "*"', async () => {
  const assets = await deploy({ '/index.html': 'page' });
  const etag = (await get(assets, '/'))!.headers.etag!;
  for (const value of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
    const answer = await get(assets, '/', { headers: { 'if-none-match': value } });
    assert.deepEqual([answer?.status, answer?.text, answer?.headers.etag], [304, null, etag], value);
  }
  assert.equal((await get(assets, '/', { headers: { 'if-none-match': '"other"' } }))?.status, 200);
});

for (const [size, length] of [
  ['small', 1000],
  ['large', 600_000],
] as const) {
  test(`byte ranges of a ${size} file`, async () => {
    const content = Buffer.from(Array.from({ length }, (_, i) => 97 + (i % 26)));
    const assets = await deploy({ '/f.bin': content });
    const range = (value: string, more: Record<string, string> = {}) =>
      get(assets, '/f.bin', { headers: { range: value, ...more } });
    assert.equal((await get(assets, '/f.bin'))?.text, content.toString());
    const cases: [string, number, number][] = [
      ['bytes=0-4', 0, 4],
      ['bytes=10-', 10, length - 1],
      ['bytes=-5', length - 5, length - 1],
      [`bytes=5-${length + 100}`, 5, length - 1],
      [`bytes=-${length * 2}`, 0, length - 1],
    ];
    for (const [value, start, end] of cases) {
      const answer = await range(value);
      assert.equal(answer?.status, 206, value);
      assert.equal(answer.text, content.toString('latin1', start, end + 1), value);
      assert.equal(answer.headers['content-range'], `bytes ${start}-${end}/${length}`);
      assert.equal(answer.headers['content-length'], String(end - start + 1));
      assert.equal(answer.headers['cache-control'], undefined);
    }
    const past = await range(`bytes=${length}-`);
    assert.deepEqual([past?.status, past?.headers['content-range']], [416, `bytes */${length}`]);
    assert.equal((await range('bytes=-0'))?.status, 416);
    for (const whole of ['bytes=5-1', 'bytes=0-1,4-5', 'lines=1-2', 'bytes=a-b', 'bytes=-']) {
      assert.equal((await range(whole))?.status, 200, whole);
    }
    const etag = (await get(assets, '/f.bin'))!.headers.etag!;
    assert.equal((await range('bytes=0-1', { 'if-range': etag }))?.status, 206);
    assert.equal((await range('bytes=0-1', { 'if-range': '"older"' }))?.status, 200);
  });
}

test('redirects to the one right path are 307, keep the query and cannot leave the host', async () => {
  const assets = await deploy({ '/a b.html': 'x', '/[c].html': 'x', '/evil.com/index.html': 'x', '/ü.png': 'x' });
  const moved = async (target: string) => {
    const answer = await get(assets, target);
    return answer?.status === 307 ? answer.headers.location : answer?.status;
  };
  assert.equal(await moved('/a%20b.html?q=1'), '/a%20b?q=1');
  assert.equal(await moved('/a%20b'), 200);
  assert.equal(await moved('/a b'), 200, 'the URL parser encodes the space');
  assert.equal(await moved('/[c]'), '/%5Bc%5D');
  assert.equal(await moved('/%5bc%5d'), '/%5Bc%5D');
  assert.equal(await moved('/%5Bc%5D'), 200);
  assert.equal(await moved('/ü.png'), 200);
  assert.equal(await moved('/%C3%BC.png'), 200);
  assert.equal(await moved('//evil.com'), '/evil.com/');
  assert.equal(await moved('//evil.com/'), '/evil.com/');
  assert.equal(await moved('/%2F%2Fevil.com'), '/evil.com/');
  assert.equal(await moved('/\\evil.com'), '/evil.com/');
  assert.equal(await moved('/%5Cevil.com'), undefined);
});

test('a name that is itself percent-encoded is reached by its double encoding only', async () => {
  const assets = await deploy({ '/%5Bx%5D.html': 'encoded', '/%zz.html': 'odd' });
  assert.equal(await get(assets, '/%5Bx%5D'), null);
  assert.equal((await get(assets, '/%255Bx%255D'))?.text, 'encoded');
  assert.equal((await get(assets, '/%zz'))?.headers.location, '/%25zz');
  assert.equal((await get(assets, '/%25zz'))?.text, 'odd');
});

test('hostile paths reach nothing but the manifest', async () => {
  const assets = await deploy({ '/index.html': 'home', '/dir/page.html': 'page' });
  const paths = [
    '/../../etc/passwd',
    '/%2e%2e/%2e%2e/etc/passwd',
    '/..%2f..%2fetc%2fpasswd',
    '/%252e%252e/etc/passwd',
    '/..\\..\\etc\\passwd',
    '/%00',
    '/dir/page.html%00.png',
    '/dir%00/page',
    '/__proto__',
    '/constructor',
    '/%ff%fe',
    '/%',
    '/\u0000',
    '/\ud800',
    `/${'a'.repeat(100_000)}`,
    `/${'%2e%2e/'.repeat(10_000)}`.slice(0, -1),
    '/'.repeat(50_000),
  ];
  for (const path of paths) {
    const answer = await get(assets, path);
    const ok = answer === null || answer.status === 307 || answer.text === 'home';
    assert.ok(ok, `${path.slice(0, 40)}: ${answer?.status}`);
  }
  assert.equal((await get(assets, '/x/%2e%2e/dir/page'))?.text, 'page', 'dot segments are resolved within the site');
});

test('404-page: the nearest 404.html up the tree, with 404', async () => {
  const assets = await deploy(
    { '/404.html': 'root', '/blog/404.html': 'blog', '/blog/a.html': 'a' },
    { not_found_handling: '404-page' },
  );
  const answer = await get(assets, '/blog/x/y');
  assert.deepEqual([answer?.status, answer?.text], [404, 'blog']);
  assert.equal((await get(assets, '/other/x'))?.text, 'root');
  assert.equal((await get(assets, '/blog/a'))?.text, 'a');
  assert.equal((await get(assets, '/blog/x', { headers: { range: 'bytes=0-1' } }))?.status, 404);
  assert.equal(await get(await deploy({ '/a/404.html': 'a' }, { not_found_handling: '404-page' }), '/b'), null);
});

test('single-page-application: index.html with 200', async () => {
  const assets = await deploy({ '/index.html': 'app' }, { not_found_handling: 'single-page-application' });
  const answer = await get(assets, '/users/7');
  assert.deepEqual([answer?.status, answer?.text], [200, 'app']);
  assert.equal((await get(assets, '/users/7', { method: 'POST' }))?.status, 405);
});

test('with a Worker, what matches no file is left to it, but for navigations and paths that are given to the assets', async () => {
  const files = { '/index.html': 'app' };
  const not_found_handling = 'single-page-application';
  const spa = await deploy(files, { not_found_handling });
  const hasCode = true;
  assert.equal(await get(spa, '/api', { hasCode }), null);
  assert.equal((await get(spa, '/api', { hasCode, headers: { 'sec-fetch-mode': 'navigate' } }))?.text, 'app');
  assert.equal(await get(spa, '/api', { hasCode, headers: { 'sec-fetch-mode': 'cors' } }), null);
  const old = await deploy(files, { not_found_handling, navigation_prefers_assets: false });
  assert.equal(await get(old, '/api', { hasCode, headers: { 'sec-fetch-mode': 'navigate' } }), null);
  const listed = await deploy(files, { not_found_handling, run_worker_first: ['/api/*'] });
  assert.equal((await get(listed, '/x', { hasCode }))?.text, 'app');
  const except = await deploy(files, { run_worker_first: ['/*', '!/static/*'] });
  assert.equal((await get(except, '/static/gone.png', { hasCode }))?.status, 404);
});

test('_redirects come first; a rewrite answers with the other file under the same URL', async () => {
  const assets = await deploy(
    { '/users/any.html': 'any user', '/old.html': 'never' },
    { _redirects: '/old /new 301\n/users/:id /users/any 200\n/gone /nowhere 200' },
  );
  const moved = await get(assets, '/old?q=1', { method: 'POST' });
  assert.deepEqual([moved?.status, moved?.headers.location], [301, '/new?q=1']);
  assert.equal((await get(assets, '/users/7'))?.text, 'any user');
  assert.equal(
    (await get(assets, '/gone', { hasCode: true }))?.status,
    404,
    'a rewrite to nothing is not the Worker\u2019s',
  );
});

test('_headers apply to files, redirects and error answers', async () => {
  const assets = await deploy(
    { '/a.html': 'a' },
    { _headers: '/*\n  X-All: yes\n  Cache-Control: max-age=9\nhttps://only.example/*\n  X-Host: only' },
  );
  const page = await get(assets, '/a', { headers: { host: 'only.example:8080' } });
  assert.deepEqual(
    [page?.headers['x-all'], page?.headers['cache-control'], page?.headers['x-host']],
    ['yes', 'max-age=9', 'only'],
  );
  const moved = await get(assets, '/a.html');
  assert.deepEqual([moved?.status, moved?.headers['x-all'], moved?.headers['x-host']], [307, 'yes', undefined]);
  assert.equal((await get(assets, '/a', { method: 'PUT' }))?.headers['x-all'], 'yes');
});

test('base_path: the assets are below it, and nothing is beside it', async () => {
  const files = { '/index.html': 'home', '/a.html': 'a' };
  const auto = await deploy(files, { base_path: '/docs/' });
  assert.equal((await get(auto, '/docs'))?.headers.location, '/docs/');
  assert.equal((await get(auto, '/docs/'))?.text, 'home');
  assert.equal((await get(auto, '/docs/a'))?.text, 'a');
  assert.equal((await get(auto, '/docs/a.html'))?.headers.location, '/docs/a');
  assert.equal(await get(auto, '/a'), null);
  assert.equal(await get(auto, '/docsa'), null);
  const drop = await deploy(files, { base_path: '/docs/', html_handling: 'drop-trailing-slash' });
  assert.equal((await get(drop, '/docs/'))?.headers.location, '/docs');
  assert.equal((await get(drop, '/docs'))?.text, 'home');
});

test('a second answer comes from memory; a missing blob is an error, not an empty page', async () => {
  const assets = await deploy({ '/kept.html': 'kept in memory', '/lost.html': 'lost before it was read' });
  assert.equal((await get(assets, '/kept'))?.text, 'kept in memory');
  const manifest = JSON.parse((await blobs.get(assets.manifest))!.toString()) as AssetManifest;
  for (const { hash } of Object.values(manifest)) await blobs.delete(hash);
  await blobs.delete(assets.manifest);
  assert.equal((await get(assets, '/kept'))?.text, 'kept in memory');
  await assert.rejects(get(assets, '/lost'), /missing/);
});

test('the ASSETS binding answers path and absolute targets, and 404 where nothing matches', async () => {
  const assets = await deploy({ '/index.html': 'home', '/big.bin': Buffer.alloc(700_000, 'b') });
  const handler = createAssetsHandler(server);
  const http = createServer((req, res) => handler(req, res, assets)).listen(0, '127.0.0.1');
  try {
    await new Promise((resolve) => http.once('listening', resolve));
    const origin = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
    assert.equal(await (await fetch(`${origin}/?x`)).text(), 'home');
    assert.equal((await (await fetch(`${origin}/big.bin`)).arrayBuffer()).byteLength, 700_000);
    const none = await fetch(`${origin}/nothing`);
    assert.deepEqual([none.status, await none.text()], [404, '']);
    assert.equal((await fetch(`${origin}/`, { method: 'POST', body: 'x' })).status, 405);
    assert.equal((await fetch(`${origin}/index.html`, { redirect: 'manual' })).headers.get('location'), '/');
    const absolute = await rawRequest(http.address() as AddressInfo, 'GET https://assets.local/ HTTP/1.1');
    assert.match(absolute, /^HTTP\/1\.1 200 [\s\S]*home$/);
  } finally {
    http.closeAllConnections();
    http.close();
  }
});

async function rawRequest({ port }: AddressInfo, line: string): Promise<string> {
  const { connect } = await import('node:net');
  const socket = connect(port, '127.0.0.1');
  socket.end(`${line}\r\nHost: x\r\nConnection: close\r\n\r\n`);
  return (await buffer(socket)).toString();
}
