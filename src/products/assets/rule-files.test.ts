/** `_headers`, `_redirects` and run_worker_first: what their lines mean, and which have no effect. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AssetConfig } from '../../model/documents.ts';
import { parseAssetConfig } from './config.ts';
import { applyHeaderRules, parseHeadersFile } from './headers-file.ts';
import { parseRedirectsFile, redirectAnswer } from './redirects-file.ts';
import { compilePattern, MATCH_STEPS, matchGlob, matchPattern } from './rules.ts';
import { assetsOnly, notFoundBeforeWorker, workerFirst } from './worker-first.ts';

const budget = () => ({ steps: MATCH_STEPS });

function withHeaders(file: string, pathname: string, headers: [string, string][] = [], hostname = 'example.com') {
  applyHeaderRules(parseHeadersFile(file).rules, headers, { hostname, pathname }, budget());
  return headers;
}

function redirect(file: string, pathname: string, search = '') {
  return redirectAnswer(parseRedirectsFile(file, 'auto-trailing-slash').rules, pathname, search, budget());
}

test('_headers: a rule sets headers on the paths that it matches, placeholders and splats included', () => {
  const file = `
# comment
/secure/page
  X-Frame-Options: DENY
  X-Content-Type-Options: nosniff
/static/*
  X-Rest: :splat
/movies/:title
  X-Movie-Name: You are watching ":title"
`;
  assert.deepEqual(withHeaders(file, '/secure/page'), [
    ['x-frame-options', 'DENY'],
    ['x-content-type-options', 'nosniff'],
  ]);
  assert.deepEqual(withHeaders(file, '/static/a/b.png'), [['x-rest', 'a/b.png']]);
  assert.deepEqual(withHeaders(file, '/movies/alien'), [['x-movie-name', 'You are watching "alien"']]);
  assert.deepEqual(withHeaders(file, '/movies/alien/2'), []);
});

test('_headers: what the server set is replaced, what two rules set is joined, "! Name" removes', () => {
  const file = `
/*
  Cache-Control: max-age=60
  X-Robots-Tag: noindex
  Set-Cookie: a=1
/a
  X-Robots-Tag: nofollow
  Set-Cookie: b=2
/bare
  ! Cache-Control
  ! X-Robots-Tag
`;
  assert.deepEqual(
    withHeaders(file, '/a', [
      ['Cache-Control', 'public'],
      ['ETag', '"1"'],
    ]),
    [
      ['ETag', '"1"'],
      ['cache-control', 'max-age=60'],
      ['x-robots-tag', 'noindex, nofollow'],
      ['set-cookie', 'a=1'],
      ['set-cookie', 'b=2'],
    ],
  );
  assert.deepEqual(withHeaders(file, '/bare', [['Cache-Control', 'public']]), [['set-cookie', 'a=1']]);
});

test('_headers: rules with a host apply to that host, whatever the scheme of the request', () => {
  const file = 'https://:project.pages.example/*\n  X-Robots-Tag: noindex :project';
  assert.deepEqual(withHeaders(file, '/x', [], 'mine.pages.example'), [['x-robots-tag', 'noindex mine']]);
  assert.deepEqual(withHeaders(file, '/x', [], 'a.b.pages.example'), []);
});

test('_headers: lines without effect are reported with number and reason', () => {
  const long = 'x'.repeat(2001);
  const { rules, ignored } = parseHeadersFile(
    [
      'X-Early: 1',
      '/a/*/b/*',
      '  X-Skipped: silently',
      '/empty',
      `/${long}`,
      '/good',
      '  nonsense',
      '  : no name',
      '  X-No-Value:',
      '  bad name: x',
      '  Transfer-Encoding: chunked',
      '  X-Good: \u0001',
      '  ! Content-Length',
      '  X-Kept: 1',
      'http://example.com/',
      'https://example.com:8443/x',
    ].join('\n'),
  );
  assert.deepEqual(
    rules.map(({ path, set }) => [path, ...set]),
    [['/good', ['x-kept', '1']]],
  );
  assert.deepEqual(
    ignored.map(({ lineNumber }) => lineNumber),
    [1, 2, 5, 4, 7, 8, 9, 10, 11, 12, 13, 15, 16],
  );
  for (const { message } of ignored) assert.ok(message.length > 10);
});

test('_headers: at most 100 rules', () => {
  const file = Array.from({ length: 103 }, (_, i) => `/p${i}\n  X-N: ${i}`).join('\n');
  const { rules, ignored } = parseHeadersFile(file);
  assert.equal(rules.length, 100);
  assert.match(ignored[0]!.message, /100 rules/);
});

test('_redirects: static rules, with the default status 302 and the query kept', () => {
  const file = `
/home301 / 301
/notes   /blog   # a comment
/frag /page#part 308
/q /there?a=1 303
/out https://other.example/x 307
`;
  assert.deepEqual(redirect(file, '/home301'), { status: 301, location: '/' });
  assert.deepEqual(redirect(file, '/notes', '?x=1'), { status: 302, location: '/blog?x=1' });
  assert.deepEqual(redirect(file, '/frag', '?x=1'), { status: 308, location: '/page?x=1#part' });
  assert.deepEqual(redirect(file, '/q', '?x=1'), { status: 303, location: '/there?a=1' });
  assert.deepEqual(redirect(file, '/out', '?x=1'), { status: 307, location: 'https://other.example/x?x=1' });
  assert.equal(redirect(file, '/nothing'), null);
});

test('_redirects: splats and placeholders; a splat cannot lead to another host', () => {
  const file = `
/blog/* https://blog.example/:splat 301
/shop/:category/:item /store/:item/in/:category
/users/:id /users/any.html 200
/old/* /:splat
`;
  assert.deepEqual(redirect(file, '/blog/a/b'), { status: 301, location: 'https://blog.example/a/b' });
  assert.deepEqual(redirect(file, '/shop/shoes/12'), { status: 302, location: '/store/12/in/shoes' });
  assert.deepEqual(redirect(file, '/users/7'), { rewrite: '/users/any.html' });
  assert.deepEqual(redirect(file, '/old//evil.example/x'), { status: 302, location: '/evil.example/x' });
});

test('_redirects: a static rule below a dynamic one takes its turn', () => {
  const file = '/a/* /first\n/a/b /second\n/c /third';
  assert.deepEqual(redirect(file, '/a/b'), { status: 302, location: '/first' });
  assert.deepEqual(redirect(file, '/c'), { status: 302, location: '/third' });
});

test('_redirects: lines without effect are reported', () => {
  const { rules, ignored } = parseRedirectsFile(
    [
      '/only-one',
      '/too many tokens 301 here',
      'https://example.com/a /b',
      '/a http://example.com',
      '/b /c 404',
      '/d https://example.com 200',
      '/* /index.html 200',
      '/ /index',
      '/x/*/y/* /z',
      '/good /there',
      '/good /elsewhere',
      `/${'l'.repeat(2000)} /x`,
    ].join('\n'),
    'auto-trailing-slash',
  );
  assert.deepEqual([...rules.exact.keys()], ['/good']);
  assert.equal(rules.dynamic.length, 0);
  assert.deepEqual(
    ignored.map(({ lineNumber }) => lineNumber),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12],
  );
});

test('_redirects: at most 2,000 static and 100 dynamic rules', () => {
  const lines = [
    ...Array.from({ length: 2001 }, (_, i) => `/s${i} /t`),
    ...Array.from({ length: 102 }, (_, i) => `/d${i}/* /t`),
  ];
  const { rules, ignored } = parseRedirectsFile(lines.join('\n'), 'none');
  assert.equal(rules.exact.size, 2000);
  assert.equal(rules.dynamic.length, 100);
  assert.equal(ignored.length, 2);
});

test('a pattern that is made to match slowly gives up', () => {
  const pattern = compilePattern(`/${Array.from({ length: 30 }, (_, i) => `:p${i}`).join('')}x`);
  const spent = budget();
  assert.equal(matchPattern(pattern, `/${'a'.repeat(5000)}`, spent), null);
  assert.ok(spent.steps < 0);
  assert.equal(matchGlob(`/${'*a'.repeat(40)}b`, `/${'a'.repeat(5000)}`), false);
});

const config = (run_worker_first: AssetConfig['run_worker_first'], more: Partial<AssetConfig> = {}): AssetConfig => ({
  html_handling: 'auto-trailing-slash',
  not_found_handling: 'none',
  run_worker_first,
  ...more,
});

test('run_worker_first: true, false, patterns and their exceptions', () => {
  assert.equal(workerFirst(config(true), '/x'), true);
  assert.equal(workerFirst(config(false), '/x'), false);
  const list = config(['/api/*', '/admin', '!/api/docs/*']);
  assert.equal(workerFirst(list, '/api/users'), true);
  assert.equal(workerFirst(list, '/api'), false);
  assert.equal(workerFirst(list, '/admin'), true);
  assert.equal(workerFirst(list, '/admin/x'), false);
  assert.equal(workerFirst(list, '/api/docs/intro'), false);
  assert.equal(assetsOnly(list, '/api/docs/intro'), true);
  assert.equal(assetsOnly(list, '/other'), false);
  assert.equal(workerFirst(list, '/x/../api/users'), true, 'dot segments do not lead past a pattern');
  assert.equal(workerFirst(list, '/x/%2e%2e/api\\users'), true);
});

test('not_found_handling waits for the Worker unless a browser navigates or run_worker_first is a list', () => {
  assert.equal(notFoundBeforeWorker(config(false), undefined), false);
  assert.equal(notFoundBeforeWorker(config(false), 'cors'), false);
  assert.equal(notFoundBeforeWorker(config(false), 'navigate'), true);
  assert.equal(notFoundBeforeWorker(config(false, { navigation_prefers_assets: false }), 'navigate'), false);
  assert.equal(notFoundBeforeWorker(config(['/api/*']), undefined), true);
});

test('the configuration of an upload gets its defaults, and says what is wrong with it', () => {
  const version = { compatibilityDate: '2025-03-31', compatibilityFlags: [] as string[] };
  const { config: plain, warnings } = parseAssetConfig({ _redirects: '/a\n/b /c', _headers: '/x' }, version);
  assert.deepEqual(plain, {
    html_handling: 'auto-trailing-slash',
    not_found_handling: 'none',
    run_worker_first: false,
    base_path: '/',
    navigation_prefers_assets: false,
    _redirects: '/a\n/b /c',
    _headers: '/x',
  });
  assert.deepEqual(
    warnings.map((warning) => warning.split(':')[0]),
    ['_headers line 1', '_redirects line 1'],
  );
  const navigates = (compatibilityDate: string, ...compatibilityFlags: string[]) =>
    parseAssetConfig(undefined, { compatibilityDate, compatibilityFlags }).config.navigation_prefers_assets;
  assert.equal(navigates('2025-04-01'), true);
  assert.equal(navigates('2025-04-01', 'assets_navigation_has_no_effect'), false);
  assert.equal(navigates('2024-01-01', 'assets_navigation_prefers_asset_serving'), true);
  const refused: [unknown, RegExp][] = [
    [{ html_handling: 'sometimes' }, /assets\.html_handling/],
    [{ run_worker_first: ['api/*'] }, /must begin with/],
    [{ run_worker_first: ['!/api/*'] }, /at least one/],
    [{ run_worker_first: [] }, /at least one/],
    [{ run_worker_first: ['/a', '/a'] }, /twice/],
    [{ run_worker_first: [`/${'a'.repeat(100)}`] }, /longer than 100/],
    [{ run_worker_first: Array.from({ length: 101 }, (_, i) => `/${i}`) }, /at most 100/],
    [{ base_path: '//host' }, /not a URL/],
    [{ base_path: '/a%20b' }, /must not hold/],
    [{ _headers: 'x'.repeat(201 * 1024) }, /larger than/],
  ];
  for (const [raw, message] of refused) assert.throws(() => parseAssetConfig(raw, version), { message });
  assert.equal(parseAssetConfig({ base_path: 'a//./b/../c' }, version).config.base_path, '/a/c/');
});
