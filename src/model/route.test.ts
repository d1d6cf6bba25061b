import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Routes } from './route.ts';

const VERSION = 'deadbeef-0000-4000-8000-000000000000';

function routesOf(patterns: Record<string, string | null>): Routes {
  const routes = new Routes('workers.localhost');
  routes.apply({ key: 'account/a', doc: { kind: 'account', id: 'a', subdomain: 'acme' } });
  for (const [pattern, script] of Object.entries(patterns)) {
    routes.apply({
      key: `route/z/${pattern}`,
      doc: { kind: 'route', id: pattern, zoneName: 'example.com', accountId: 'a', pattern, script },
    });
  }
  return routes;
}

function addScript(routes: Routes, name: string, over = {}) {
  const doc = {
    kind: 'script' as const,
    accountId: 'a',
    name,
    workersDev: true,
    previews: true,
    deployment: null,
    aliases: {},
  };
  routes.apply({ key: `script/a/${name}`, doc: { ...doc, ...over } });
}

/** "https://host/path" -> name of the Worker, null or undefined. */
function find(routes: Routes, url: string) {
  const { protocol, hostname, pathname } = new URL(url);
  const found = routes.find(hostname, pathname, protocol.slice(0, -1) as 'http' | 'https');
  return found && (found.versionId ? `${found.script}@${found.versionId}` : found.script);
}

describe('route patterns', () => {
  const routes = routesOf({
    'example.com/': 'root',
    'example.com/images/*': 'images',
    'example.com/images/cat.png': 'cat',
    'www.example.com/*': 'www',
    '*.example.com/*': 'any-subdomain',
    '*example.com/hello*': 'hello',
    'http://plain.example.com/*': 'plain',
    'https://plain.example.com/*': 'secure',
    'api.example.com/*': 'api',
    'api.example.com/public/*': null,
    'EXAMPLE.com/Upper': 'upper',
  });
  for (const [url, script] of [
    ['https://example.com/', 'root'],
    ['https://example.com/other', undefined],
    ['https://example.com/images/dog.png', 'images'],
    ['https://example.com/images/', 'images'],
    ['https://example.com/images', undefined],
    ['https://example.com/images/cat.png', 'cat'],
    ['https://www.example.com/', 'www'],
    ['https://shop.example.com/', 'any-subdomain'],
    ['https://a.b.example.com/x/y', 'any-subdomain'],
    ['https://example.com/hello-world', 'hello'],
    ['https://www.example.com/hello', 'www'],
    ['https://myexample.com/hello', undefined],
    ['https://shop.example.com/hello', 'any-subdomain'],
    ['http://plain.example.com/', 'plain'],
    ['https://plain.example.com/', 'secure'],
    ['https://api.example.com/v1', 'api'],
    ['https://api.example.com/public/x', null],
    ['https://example.com/Upper', 'upper'],
    ['https://example.com/upper', undefined],
    ['https://example.org/', undefined],
    ['https://example.com.evil.org/', undefined],
  ] as const) {
    it(`${url} -> ${script}`, () => assert.equal(find(routes, url), script));
  }

  it('go when their document goes', () => {
    const some = routesOf({ 'example.com/*': 'a', '*.example.com/*': 'b' });
    some.apply({ key: 'route/z/example.com/*', doc: null });
    some.apply({ key: 'route/z/*.example.com/*', doc: null });
    assert.equal(find(some, 'https://example.com/'), undefined);
    assert.equal(find(some, 'https://www.example.com/'), undefined);
    assert.equal(some.serves('example.com'), false);
  });
});

describe('custom domains', () => {
  it('own all paths of their host, but a route on the host is more specific', () => {
    const routes = routesOf({ 'shop.example.com/admin/*': 'admin', '*.example.com/*': 'rest' });
    routes.apply({
      key: 'domain/shop.example.com',
      doc: { kind: 'domain', hostname: 'shop.example.com', accountId: 'a', script: 'shop' },
    });
    assert.equal(find(routes, 'https://shop.example.com/x'), 'shop');
    assert.equal(find(routes, 'https://shop.example.com/admin/x'), 'admin');
    assert.equal(find(routes, 'https://www.example.com/x'), 'rest');
  });
});

describe('hosts below the workers domain', () => {
  const routes = routesOf({});
  addScript(routes, 'shop', { aliases: { staging: VERSION } });
  addScript(routes, 'my-shop');
  addScript(routes, 'hidden', { workersDev: false, previews: false });
  routes.apply({
    key: `version/a/shop/${VERSION}`,
    doc: { kind: 'version', id: VERSION, accountId: 'a', script: 'shop', hasCode: true, assets: null },
  });
  for (const [host, script] of [
    ['shop.acme.workers.localhost', 'shop'],
    ['my-shop.acme.workers.localhost', 'my-shop'],
    ['hidden.acme.workers.localhost', undefined],
    ['shop.other.workers.localhost', undefined],
    ['none.acme.workers.localhost', undefined],
    ['acme.workers.localhost', undefined],
    ['x.shop.acme.workers.localhost', undefined],
    ['deadbeef-shop.acme.workers.localhost', `shop@${VERSION}`],
    ['staging-shop.acme.workers.localhost', `shop@${VERSION}`],
    ['cafecafe-shop.acme.workers.localhost', undefined],
    ['deadbeef-hidden.acme.workers.localhost', undefined],
  ] as const) {
    it(`${host} -> ${script}`, () => {
      assert.equal(find(routes, `http://${host}/`), script);
      assert.equal(routes.serves(host), script !== undefined);
    });
  }
});
