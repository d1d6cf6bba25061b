/** html_handling: the tables of Cloudflare's documentation, and what its asset worker does beyond them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type HtmlHandling, htmlAnswer, type Manifest } from './html-handling.ts';

function manifestOf(...paths: string[]): Manifest {
  return new Map(paths.map((path) => [path, { hash: path, etag: path, sizeBytes: 1, contentType: 'text/html' }]));
}

/** "/file.html" served, "-> /path" redirected, null nothing. */
function ask(mode: HtmlHandling, path: string, manifest: Manifest): string | null {
  const answer = htmlAnswer(mode, path, manifest);
  if (!answer) return null;
  return 'redirect' in answer ? `-> ${answer.redirect}` : answer.entry.hash;
}

const site = manifestOf('/index.html', '/file.html', '/folder/index.html', '/logo.png');

const tables: Record<HtmlHandling, [path: string, answer: string | null][]> = {
  'auto-trailing-slash': [
    ['/', '/index.html'],
    ['/index', '-> /'],
    ['/index.html', '-> /'],
    ['/file', '/file.html'],
    ['/file.html', '-> /file'],
    ['/file/', '-> /file'],
    ['/file/index', '-> /file'],
    ['/file/index.html', '-> /file'],
    ['/folder', '-> /folder/'],
    ['/folder.html', '-> /folder/'],
    ['/folder/', '/folder/index.html'],
    ['/folder/index', '-> /folder/'],
    ['/folder/index.html', '-> /folder/'],
    ['/logo.png', '/logo.png'],
    ['/logo.png/', null],
    ['/nothing', null],
  ],
  'force-trailing-slash': [
    ['/', '/index.html'],
    ['/index', '-> /'],
    ['/index.html', '-> /'],
    ['/file', '-> /file/'],
    ['/file.html', '-> /file/'],
    ['/file/', '/file.html'],
    ['/file/index', '-> /file/'],
    ['/file/index.html', '-> /file/'],
    ['/folder', '-> /folder/'],
    ['/folder.html', '-> /folder/'],
    ['/folder/', '/folder/index.html'],
    ['/folder/index', '-> /folder/'],
    ['/folder/index.html', '-> /folder/'],
    ['/logo.png', '/logo.png'],
    ['/nothing/', null],
  ],
  'drop-trailing-slash': [
    ['/', '/index.html'],
    ['/index', '-> /'],
    ['/index.html', '-> /'],
    ['/file', '/file.html'],
    ['/file.html', '-> /file'],
    ['/file/', '-> /file'],
    ['/file/index', '-> /file'],
    ['/file/index.html', '-> /file'],
    ['/folder', '/folder/index.html'],
    ['/folder.html', '-> /folder'],
    ['/folder/', '-> /folder'],
    ['/folder/index', '-> /folder'],
    ['/folder/index.html', '-> /folder'],
    ['/logo.png', '/logo.png'],
    ['/nothing', null],
  ],
  none: [
    ['/', null],
    ['/index', null],
    ['/index.html', '/index.html'],
    ['/file', null],
    ['/file.html', '/file.html'],
    ['/folder/', null],
    ['/folder/index.html', '/folder/index.html'],
    ['/logo.png', '/logo.png'],
  ],
};

for (const [mode, rows] of Object.entries(tables) as [HtmlHandling, [string, string | null][]][]) {
  test(`${mode}: pages have one path each`, () => {
    for (const [path, answer] of rows) assert.equal(ask(mode, path, site), answer, path);
  });
}

test('where /foo.html and /foo/index.html both exist, each stays reachable', () => {
  const both = manifestOf('/foo.html', '/foo/index.html');
  const auto = 'auto-trailing-slash';
  assert.equal(ask(auto, '/foo', both), '/foo.html');
  assert.equal(ask(auto, '/foo/', both), '/foo/index.html');
  assert.equal(ask(auto, '/foo.html', both), '-> /foo');
  assert.equal(ask(auto, '/foo/index.html', both), '-> /foo/');
  const force = 'force-trailing-slash';
  assert.equal(ask(force, '/foo/', both), '/foo/index.html');
  assert.equal(ask(force, '/foo.html', both), '/foo.html');
  assert.equal(ask(force, '/foo/index.html', both), '-> /foo/');
  const drop = 'drop-trailing-slash';
  assert.equal(ask(drop, '/foo', both), '/foo.html');
  assert.equal(ask(drop, '/foo/index.html', both), '/foo/index.html');
  assert.equal(ask(drop, '/foo/', both), '-> /foo');
});

test('a file without an extension is served as it is and is never hidden by a page', () => {
  const binary = manifestOf('/foo', '/foo.html', '/index');
  for (const mode of ['auto-trailing-slash', 'drop-trailing-slash', 'none'] as const) {
    assert.equal(ask(mode, '/foo', binary), '/foo', mode);
    assert.equal(ask(mode, '/index', binary), '/index', mode);
    assert.equal(ask(mode, '/foo.html', binary), '/foo.html', `${mode}: no redirect to a path that is another file`);
  }
});

test('names of the object prototype are not files', () => {
  for (const path of ['/__proto__', '__proto__', '/constructor', 'toString']) {
    assert.equal(ask('auto-trailing-slash', path, site), null);
  }
});
