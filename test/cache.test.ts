/** The Cache API of real Workers: its rules, what it shares with whom, and that it survives a restart. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startEdge } from './harness.ts';

let edge = await startEdge();
after(() => edge.close());

/** Does what the body says: `do`, `url`, and for put `body`, `status`, `headers`; `name` is that of a named cache. */
const WORKER = `
export default { async fetch(request) {
  const { do: what, url, name, method = 'GET', body, status = 200, headers = {}, asked = {}, stream } = await request.json();
  const cache = name ? await caches.open(name) : caches.default;
  try {
    if (what === 'put') {
      const content = stream ? new Blob([body]).stream() : body;
      await cache.put(new Request(url, { method }), new Response(content, { status, headers }));
      return Response.json('put');
    }
    if (what === 'delete') return Response.json(await cache.delete(url));
    const found = await cache.match(new Request(url, { headers: asked }));
    return Response.json(found ? { status: found.status, headers: Object.fromEntries(found.headers), text: await found.text() } : null);
  } catch (error) {
    return Response.json({ error: error.message });
  }
} }`;

async function deploy(name: string, zone?: string): Promise<string> {
  const cwd = await edge.project(
    {
      name,
      main: 'index.js',
      compatibility_date: '2026-11-01',
      ...(zone && { routes: [{ pattern: `${name}.${zone}/*`, zone_name: zone }] }),
    },
    { 'index.js': WORKER },
  );
  await edge.deployed(['deploy'], { cwd });
  return zone ? `${name}.${zone}` : edge.host(name);
}

let one: string;
let two: string;
let zoned: string;
let other: string;
before(async () => {
  for (const zone of ['shop.example', 'other.example']) {
    const { code, stderr } = await edge.selvedge(['zone', 'add', zone, '--account', edge.accountId]);
    assert.equal(code, 0, stderr);
  }
  one = await deploy('one');
  two = await deploy('two');
  zoned = await deploy('zoned', 'shop.example');
  other = await deploy('sibling', 'shop.example');
});

async function call(host: string, message: Record<string, unknown>): Promise<any> {
  const answer = await edge.request(host, '/', { method: 'POST', body: JSON.stringify(message) });
  assert.equal(answer.status, 200, answer.text);
  return answer.json();
}
const put = (host: string, url: string, more: object = {}) =>
  call(host, { do: 'put', url, body: 'cached', headers: { 'cache-control': 'max-age=600' }, ...more });
const match = (host: string, url: string, more: object = {}) => call(host, { do: 'match', url, ...more });

describe('caches.default', () => {
  it('gives back what was put, with its status, headers, age and cf-cache-status', async () => {
    const url = 'https://shop.example/one?q=1';
    await put(zoned, url, {
      status: 404,
      headers: { 'cache-control': 'max-age=600', 'x-mine': 'grüße', 'content-type': 'text/x' },
    });
    const { status, headers, text } = await match(zoned, `${url}#fragment`);
    assert.deepEqual([status, text, headers['x-mine'], headers['content-type']], [404, 'cached', 'grüße', 'text/x']);
    assert.equal(headers['cf-cache-status'], 'HIT');
    assert.match(headers.age, /^\d+$/);
    assert.equal(await match(zoned, 'https://shop.example/one?q=2'), null);
    assert.equal(await match(zoned, 'http://shop.example/one?q=1'), null);
  });

  it('deletes, and says whether there was something', async () => {
    const url = 'https://shop.example/deleted';
    await put(zoned, url);
    assert.equal(await call(zoned, { do: 'delete', url }), true);
    assert.equal(await call(zoned, { do: 'delete', url }), false);
    assert.equal(await match(zoned, url), null);
  });

  it('keeps bodies of any size, also streams', async () => {
    for (const [i, size] of [0, 1, 70_000, 3_000_000].entries()) {
      for (const stream of [false, true]) {
        const url = `https://shop.example/size/${i}/${stream}`;
        await put(zoned, url, { body: 'x'.repeat(size), stream });
        assert.equal((await match(zoned, url)).text.length, size);
      }
    }
  });

  it('answers conditional and range requests from what it keeps', async () => {
    const url = 'https://shop.example/range';
    const headers = { 'cache-control': 'max-age=600', etag: '"v1"', 'last-modified': 'Sat, 21 Nov 2026 00:00:00 GMT' };
    await put(zoned, url, { body: '0123456789', headers });
    assert.equal((await match(zoned, url, { asked: { 'if-none-match': '"v1"' } })).status, 304);
    assert.equal((await match(zoned, url, { asked: { 'if-none-match': '"v2"' } })).status, 200);
    assert.equal(
      (await match(zoned, url, { asked: { 'if-modified-since': 'Sun, 22 Nov 2026 00:00:00 GMT' } })).status,
      304,
    );
    const part = await match(zoned, url, { asked: { range: 'bytes=2-4' } });
    assert.deepEqual([part.status, part.text, part.headers['content-range']], [206, '234', 'bytes 2-4/10']);
    assert.equal((await match(zoned, url, { asked: { range: 'bytes=20-' } })).status, 416);
  });

  it('keeps nothing that is not to be kept, and Workers hear no error', async () => {
    for (const [i, headers] of [
      { 'cache-control': 'no-store' },
      { 'cache-control': 'private, max-age=60' },
      { 'cache-control': 'max-age=60', 'set-cookie': 'a=1' },
    ].entries()) {
      const url = `https://shop.example/not/${i}`;
      assert.equal(await put(zoned, url, { headers }), 'put');
      assert.equal(await match(zoned, url), null);
    }
  });

  it('refuses what can never be cached, in the runtime’s words', async () => {
    const url = 'https://shop.example/never';
    assert.match((await put(zoned, url, { status: 206 })).error, /206 Partial Content/);
    assert.match((await put(zoned, url, { headers: { vary: '*' } })).error, /Vary: \*/);
    assert.match((await put(zoned, url, { method: 'POST' })).error, /non-GET/);
  });

  it('forgets when the time is over', async () => {
    const url = 'https://shop.example/short';
    await put(zoned, url, { headers: { 'cache-control': 'max-age=1' } });
    assert.equal((await match(zoned, url)).text, 'cached');
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    assert.equal(await match(zoned, url), null);
  });
});

describe('an entry is seen', () => {
  it('by the Workers of its zone, not by others', async () => {
    const url = 'https://shop.example/shared';
    await put(zoned, url);
    assert.equal((await match(other, url)).text, 'cached');
    // Whichever Worker asks for a host of the zone is one of the account: the zone's entries are its own.
    assert.equal((await match(one, url)).text, 'cached');
    assert.equal(await match(zoned, 'https://other.example/shared'), null);
  });

  it('by its own Worker alone for hosts of no zone', async () => {
    const url = 'https://api.elsewhere.example/x';
    await put(one, url, { body: 'of one' });
    assert.equal((await match(one, url)).text, 'of one');
    assert.equal(await match(two, url), null);
    await put(two, url, { body: 'of two' });
    assert.equal((await match(one, url)).text, 'of one');
  });

  it('in its own named cache only', async () => {
    const url = 'https://shop.example/named';
    await put(zoned, url, { name: 'a' });
    assert.equal((await match(zoned, url, { name: 'a' })).text, 'cached');
    assert.equal(await match(zoned, url, { name: 'b' }), null);
    assert.equal(await match(zoned, url), null);
  });

  it('never by another account, whatever URL it asks for', async () => {
    const url = 'https://shop.example/secret';
    await put(zoned, url);
    const made = await edge.selvedge(['account', 'create', '--name', 'Eve', '--subdomain', 'eve']);
    const id = /[0-9a-f]{32}/.exec(made.stdout)![0];
    const created = await edge.selvedge(['token', 'create', '--account', id, '--name', 'hers']);
    const token = created.stdout.trim().split('\n').at(-1)!;
    const path = `/accounts/${id}/workers/scripts/one`;
    const form = new FormData();
    form.set('metadata', JSON.stringify({ main_module: 'index.js', compatibility_date: '2026-11-01' }));
    form.set('index.js', new File([WORKER], 'index.js', { type: 'application/javascript+module' }));
    assert.equal((await edge.api(path, { method: 'PUT', body: form, token })).status, 200);
    await edge.api(`${path}/subdomain`, { method: 'POST', body: { enabled: true }, token });
    const eve = `one.eve.${edge.workersDomain}`;
    assert.equal(await match(eve, url), null);
    assert.equal(await call(eve, { do: 'delete', url }), false);
    await put(eve, url, { body: 'poison' });
    assert.equal((await match(zoned, url)).text, 'cached');
  });
});

it('survives a restart', async () => {
  await put(zoned, 'https://shop.example/durable', { body: 'x'.repeat(10_000) });
  const { dataDir } = edge;
  await edge.stop();
  const stopped = edge;
  edge = await startEdge({ dataDir });
  try {
    assert.equal((await match(zoned, 'https://shop.example/durable')).text.length, 10_000);
  } finally {
    await edge.close();
    edge = stopped;
  }
});
