import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { EdgeChange } from '../model/messages.ts';
import { createHub } from '../state/local-bus.ts';
import { chooseDestination } from './destination.ts';
import { type Directory, openDirectory } from './directory.ts';

const edge = { address: '127.0.0.1', httpPort: 8080, httpsPort: 8443 };
const script = (accountId: string, name: string): EdgeChange => ({
  key: `script/${accountId}/${name}`,
  doc: { kind: 'script', accountId, name, workersDev: true, previews: false, deployment: null, aliases: {} },
});
const zone = (accountId: string, name: string): EdgeChange => ({
  key: `zone/${name}`,
  doc: { kind: 'zone', id: name, name, accountId },
});
const route = (accountId: string, zoneName: string, pattern: string, name: string | null): EdgeChange => ({
  key: `route/${zoneName}/${pattern}`,
  doc: { kind: 'route', id: pattern, zoneName, accountId, pattern, script: name },
});
const domain = (accountId: string, hostname: string, name: string): EdgeChange => ({
  key: `domain/${hostname}`,
  doc: { kind: 'domain', hostname, accountId, script: name },
});
const origin = (accountId: string, hostname: string, url: string): EdgeChange => ({
  key: `origin/${hostname}`,
  doc: { kind: 'origin', hostname, accountId, url },
});

/** Alice has two zones, a Worker on a route of each, and a custom domain; Bob has a zone with a catch-all route. */
const CHANGES: EdgeChange[] = [
  { key: 'account/alice', doc: { kind: 'account', id: 'alice', subdomain: 'alice' } },
  { key: 'account/bob', doc: { kind: 'account', id: 'bob', subdomain: 'bob' } },
  ...['shop', 'blog', 'api', 'none'].map((name) => script('alice', name)),
  script('bob', 'trap'),
  zone('alice', 'shop.example'),
  zone('alice', 'blog.example'),
  zone('bob', 'victim.example'),
  route('alice', 'shop.example', 'shop.example/*', 'shop'),
  route('alice', 'shop.example', 'shop.example/static/*', null),
  route('alice', 'blog.example', '*.blog.example/*', 'blog'),
  route('bob', 'victim.example', '*.victim.example/*', 'trap'),
  domain('alice', 'api.shop.example', 'api'),
  domain('bob', 'www.victim.example', 'trap'),
  origin('alice', 'shop.example', 'https://10.0.0.5:9443'),
  origin('alice', 'other.shop.example', 'http://backend'),
  origin('bob', 'victim.example', 'http://10.6.6.6'),
];

let directory: Directory;
before(async () => {
  const hub = createHub();
  hub.respond('local.snapshot', () => ({ changes: CHANGES, isolates: [] }));
  directory = await openDirectory(hub, 'workers.localhost');
});
after(() => directory.close());

/** "edge http 8080" or "10.0.0.5:9443 tls(name)", and the Host that is sent. */
function way(name: string, url: string, resolveOverride?: string, accountId = 'alice'): string {
  const { local, secure, host, port, servername, authority, refuseSelf } = chooseDestination(
    directory,
    edge,
    { accountId, script: name },
    new URL(url),
    resolveOverride,
  );
  const where = local ? 'edge' : refuseSelf ? 'origin' : 'out';
  return `${where} ${host}:${port}${secure ? ` tls(${servername})` : ''} as ${authority}`;
}

describe('a subrequest to a host of this machine', () => {
  for (const [what, url, expected] of [
    [
      'a Worker below the workers domain',
      'http://shop.alice.workers.localhost/',
      'edge 127.0.0.1:8080 as shop.alice.workers.localhost',
    ],
    [
      'one of another account',
      'https://trap.bob.workers.localhost/',
      'edge 127.0.0.1:8443 tls(trap.bob.workers.localhost) as trap.bob.workers.localhost',
    ],
    [
      'no Worker below the workers domain',
      'http://nobody.alice.workers.localhost/',
      'out nobody.alice.workers.localhost:80 as nobody.alice.workers.localhost',
    ],
    [
      'a route in a zone without one of the caller',
      'https://www.blog.example/x',
      'edge 127.0.0.1:8443 tls(www.blog.example) as www.blog.example',
    ],
    [
      'a host of such a zone that no route matches',
      'https://blog.example/x',
      'origin blog.example:443 tls(blog.example) as blog.example',
    ],
    ['a custom domain of the same zone', 'http://api.shop.example/', 'edge 127.0.0.1:8080 as api.shop.example'],
    ['a trailing dot', 'http://www.blog.example./', 'edge 127.0.0.1:8080 as www.blog.example.'],
  ] as const) {
    it(`${what}: ${expected}`, () => assert.equal(way('shop', url), expected));
  }

  it('goes to the origin where the caller has a route, and to the Worker for all others of the account', () => {
    assert.equal(way('shop', 'http://shop.example/a?b'), 'origin 10.0.0.5:9443 tls(shop.example) as shop.example');
    assert.equal(way('blog', 'http://shop.example/a?b'), 'edge 127.0.0.1:8080 as shop.example');
    assert.equal(way('none', 'http://shop.example/static/a'), 'origin 10.0.0.5:9443 tls(shop.example) as shop.example');
  });

  it('goes to the origin when a route stands before a custom domain, for whom it stands there', () => {
    const known = { ...directory, find: () => ({ accountId: 'alice', script: 'shop' }) };
    const url = new URL('http://api.shop.example/');
    const chosen = chooseDestination(known, edge, { accountId: 'alice', script: 'shop' }, url);
    assert.equal(chosen.local, false);
  });

  it("never follows another account's claim to a name", () => {
    assert.equal(
      way('shop', 'https://www.victim.example/'),
      'out www.victim.example:443 tls(www.victim.example) as www.victim.example',
    );
    assert.equal(way('shop', 'http://victim.example/'), 'out victim.example:80 as victim.example');
    assert.equal(way('trap', 'http://victim.example/', undefined, 'bob'), 'origin 10.6.6.6:80 as victim.example');
  });
});

describe('ports', () => {
  for (const [url, expected] of [
    ['http://shop.alice.workers.localhost:8880/', 'edge 127.0.0.1:8080 as shop.alice.workers.localhost:8880'],
    ['http://shop.alice.workers.localhost:4400/', 'edge 127.0.0.1:8080 as shop.alice.workers.localhost'],
    ['https://blog.example:2083/', 'origin blog.example:2083 tls(blog.example) as blog.example:2083'],
    ['https://blog.example:8080/', 'origin blog.example:443 tls(blog.example) as blog.example'],
    ['http://blog.example:22/', 'origin blog.example:80 as blog.example'],
    ['http://shop.example:8080/', 'origin 10.0.0.5:9443 tls(shop.example) as shop.example:8080'],
    ['http://elsewhere.example:22/', 'out elsewhere.example:22 as elsewhere.example:22'],
    ['https://[2606:4700::1]:8000/', 'out 2606:4700::1:8000 tls() as [2606:4700::1]:8000'],
  ] as const) {
    it(`${url} -> ${expected}`, () => assert.equal(way('shop', url), expected));
  }
});

describe('resolveOverride', () => {
  for (const [what, url, host, expected] of [
    [
      'takes the origin of another host',
      'https://shop.example/',
      'other.shop.example',
      'origin backend:80 as shop.example',
    ],
    [
      'takes DNS for a host without one',
      'https://shop.example/',
      'x.Shop.example',
      'origin x.shop.example:443 tls(shop.example) as shop.example',
    ],
    [
      'goes across the zones of an account',
      'http://www.blog.example/',
      'shop.example',
      'origin 10.0.0.5:9443 tls(www.blog.example) as www.blog.example',
    ],
    [
      'is ignored for a host elsewhere',
      'http://shop.example/',
      'evil.example',
      'origin 10.0.0.5:9443 tls(shop.example) as shop.example',
    ],
    [
      'is ignored for a host of another account',
      'http://shop.example/',
      'victim.example',
      'origin 10.0.0.5:9443 tls(shop.example) as shop.example',
    ],
    [
      'is ignored for a URL elsewhere',
      'http://elsewhere.example/',
      'shop.example',
      'out elsewhere.example:80 as elsewhere.example',
    ],
    ['is ignored for an address', 'http://www.blog.example/', '127.0.0.1', 'edge 127.0.0.1:8080 as www.blog.example'],
  ] as const) {
    it(what, () => assert.equal(way('shop', url, host), expected));
  }
});
