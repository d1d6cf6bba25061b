/** The edge before real workerd processes: what eyeballs see over HTTP/1.1, and what Workers see of them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { after, describe, it } from 'node:test';
import { type Ask, answer, HOST, open, openBench, source, until, versionId } from './testing.ts';

const bench = await openBench();
after(() => bench.close());
const main = await bench.start(source('one'));
bench.script('shop', { [versionId(1)]: 100 });
bench.isolates(versionId(1), [main]);

const ask = (path: string, options?: Ask) => answer(open(bench, path, options));

/** Sends bytes as they are and returns all that comes until the end. */
async function sendRaw(bytes: string): Promise<string> {
  const socket = connect(bench.httpPort, '127.0.0.1');
  socket.write(bytes, 'latin1');
  let text = '';
  for await (const chunk of socket.setEncoding('latin1')) text += chunk;
  return text;
}

describe('what a Worker sees', () => {
  it('its URL, the place, the address; nothing of what a client says under those names', async () => {
    const headers = [
      ...[
        'CF-Connecting-IP',
        '6.6.6.6',
        'cf-ipcountry',
        'ZZ',
        'CF-Ray',
        'x',
        'X-Forwarded-For',
        '6.6.6.6',
        'X-Real-IP',
        '6.6.6.6',
      ],
      ...[
        'selvedge-cf',
        '{"country":"ZZ"}',
        'Selvedge-Proto',
        'https',
        'True-Client-IP',
        '6.6.6.6',
        'CDN-Loop',
        'x',
        'Forwarded',
        'for=6.6.6.6',
      ],
      ...[
        'Connection',
        'X-Hop',
        'X-Hop',
        'gone',
        'Connection',
        'x-other',
        'X-Other',
        'gone',
        'Keep-Alive',
        'x',
        'TE',
        'trailers',
      ],
      ...['X-Kept', 'yes', 'Cookie', 'a=1', 'Cookie', 'b=2', 'X-Twice', '1', 'X-Twice', '2'],
    ];
    const { text, headers: got } = await ask('/see?x=1', { headers });
    const { url, cf, headers: seen } = JSON.parse(text);
    assert.equal(url, `http://${HOST}/see?x=1`);
    assert.deepEqual(cf, { colo: 'DEV', httpProtocol: 'HTTP/1.1', tlsVersion: '', tlsCipher: '' });
    assert.match(got['cf-ray'] as string, /^[0-9a-f]{16}-DEV$/);
    assert.deepEqual(Object.fromEntries(seen.filter(([name]: [string]) => name !== 'host')), {
      'cf-connecting-ip': '127.0.0.1',
      'cf-ipcountry': 'XX',
      'cf-ray': got['cf-ray'],
      'cf-visitor': '{"scheme":"http"}',
      // Others' entries stay: loops are counted by it (RFC 8586).
      'cdn-loop': 'x',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-kept': 'yes',
      'x-twice': '1, 2',
      cookie: 'a=1; b=2',
    });
  });

  it('the host of the request target where that is absolute', async () => {
    const text = await sendRaw(`GET http://${HOST}/see HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`);
    assert.ok(text.includes(`"url":"http://${HOST}/see"`), text);
  });

  it('bodies: of known length, in chunks, with Expect, and with GET', async () => {
    const known = await ask('/echo', {
      method: 'POST',
      body: 'hello',
      headers: { 'content-length': 5, expect: '100-continue' },
    });
    assert.deepEqual([known.text, known.headers['x-length']], ['hello', '5']);
    const chunked = await ask('/echo', { method: 'POST', body: 'hello', headers: { 'transfer-encoding': 'chunked' } });
    assert.deepEqual([chunked.text, chunked.headers['x-length']], ['hello', 'none']);
    assert.equal((await ask('/echo', { method: 'PUT', body: 'x'.repeat(1_000_000) })).text.length, 1_000_000);
    assert.equal(
      JSON.parse((await ask('/see', { method: 'GET', body: 'x', headers: { 'content-length': 1 } })).text).method,
      'GET',
    );
  });
});

describe('what an eyeball gets', () => {
  it('the answer of a Worker that does not read the body, always', async () => {
    for (const length of [1, 1_000_000]) {
      for (let i = 0; i < 20; i++) {
        const { status, text } = await ask('/own500', { method: 'POST', body: 'x'.repeat(length) });
        assert.deepEqual([status, text], [500, 'mine']);
      }
    }
  });

  it("all cookies, and the edge's own Server and CF-Ray", async () => {
    const { headers, raw } = await ask('/cookies');
    assert.deepEqual(headers['set-cookie'], ['a=1', 'b=2']);
    assert.equal(headers.server, 'selvedge');
    assert.match(headers['cf-ray'] as string, /^[0-9a-f]{16}-DEV$/);
    assert.equal(raw.filter((name) => name.toLowerCase() === 'cf-ray').length, 1);
  });

  it('answers without a body as such', async () => {
    assert.deepEqual(
      await Promise.all(['/204', '/304'].map(async (path) => (({ status, text }) => [status, text])(await ask(path)))),
      [
        [204, ''],
        [304, ''],
      ],
    );
    assert.deepEqual((({ status, text }) => [status, text])(await ask('/see', { method: 'HEAD' })), [200, '']);
  });

  it('chunks as they come, both ways', async () => {
    const request = open(bench, '/lines', { method: 'POST' });
    request.write('first');
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    assert.equal(String((await once(response, 'data'))[0]), 'first');
    // Both may come in one turn: listened for before anything is sent.
    const [second] = await Promise.all([once(response, 'data'), once(response, 'end'), request.end('second')]);
    assert.equal(String(second[0]), 'second');
  });

  it('no more than it reads: a slow reader stops the Worker, a gone one ends it', async () => {
    const state = async () => JSON.parse((await ask('/state')).text);
    const request = open(bench, '/endless');
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    response.pause();
    let before = -1;
    // Full pipes: nothing is written any more.
    for (let now = 0; now !== before; now = (await state()).written) {
      before = now;
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    assert.ok(before < 32 * 1024 * 1024, `${before} bytes were written to an eyeball that did not read`);
    request.on('error', () => undefined).destroy();
    let cancelled = 0;
    while (cancelled === 0) cancelled = (await state()).cancelled;
    assert.equal(cancelled, 1);
  });
});

describe('what is refused', () => {
  for (const [what, options, status, text] of [
    ['a host that nobody owns', { host: 'nobody.example' }, 404, 'Nothing is served under this name'],
    ['a host of no Worker', { host: 'none.acme.workers.localhost' }, 404, 'Nothing is served under this name'],
    ['TRACE', { method: 'TRACE' }, 405, 'TRACE is not answered here.'],
    [
      'too many headers',
      { headers: Array.from({ length: 500 }, (_, i) => (i % 2 ? 'x' : `h${i}`)) },
      431,
      'too many headers',
    ],
    ['two hosts', { headers: ['Host', 'other.example'] }, 400, 'two hosts'],
  ] as const) {
    it(`${what}: ${status}`, async () => {
      const got = await ask('/', options as Ask);
      assert.equal(got.status, status);
      assert.ok(got.text.includes(text), got.text);
      assert.equal(got.headers['cache-control'], 'no-store');
    });
  }

  it('tells the reason as JSON to those who accept it', async () => {
    const { text, headers } = await ask('/', { host: 'nobody.example', headers: { accept: 'application/json' } });
    assert.deepEqual(JSON.parse(text), {
      success: false,
      errors: [
        {
          code: 1001,
          message: 'Nothing is served under this name: No Worker is deployed at nobody.example on this edge.',
        },
      ],
      ray: headers['cf-ray'],
    });
  });

  it('CONNECT, no path and what is no HTTP', async () => {
    assert.match(await sendRaw('CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n'), /^HTTP\/1.1 405 /);
    assert.match(
      await sendRaw('OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'),
      /^HTTP\/1.1 204 .*\r\nAllow: GET/,
    );
    assert.match(await sendRaw('GET / HTTP/1.1\r\nConnection: close\r\n\r\n'), /^HTTP\/1.1 400 /);
    assert.match(await sendRaw('nonsense\r\n\r\n'), /^HTTP\/1.1 400 /);
    const both = 'POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n';
    assert.match(await sendRaw(both), /^HTTP\/1.1 400 /);
  });

  it('answers an upgrade to something else than WebSockets as a plain request', async () => {
    const { status, text } = await ask('/', {
      headers: { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AA' },
    });
    assert.deepEqual([status, text], [200, 'hello from one']);
  });

  it('a Worker without a deployment', async () => {
    bench.script('empty', {});
    const { status, text } = await ask('/', { host: 'empty.acme.workers.localhost' });
    assert.equal(status, 404);
    assert.match(text, /This Worker has no deployment/);
  });

  it('a Worker that does not start; the reason is not for eyeballs', async () => {
    bench.script('broken', { [versionId(2)]: 100 });
    const { status, text } = await ask('/', { host: 'broken.acme.workers.localhost' });
    assert.equal(status, 503);
    assert.match(text, /Error 1101: Worker does not start/);
    assert.doesNotMatch(text, /this Worker does not start/);
  });
});

describe('versions', () => {
  const host = 'split.acme.workers.localhost';
  const [old, fresh] = [versionId(10), versionId(11)];

  it('share the traffic; a key sticks, an override chooses, a preview has its own host', async () => {
    bench.script('split', { [old]: 50, [fresh]: 50 });
    bench.isolates(old, [await bench.start(source('old'))]);
    bench.isolates(fresh, [await bench.start(source('fresh'))]);
    const texts = await Promise.all(Array.from({ length: 40 }, async () => (await ask('/', { host })).text));
    assert.deepEqual([...new Set(texts)].sort(), ['hello from fresh', 'hello from old']);
    for (const key of ['ann', 'ben', 'cay']) {
      const headers = { 'Cloudflare-Workers-Version-Key': key };
      const same = await Promise.all(Array.from({ length: 8 }, async () => (await ask('/', { host, headers })).text));
      assert.equal(new Set(same).size, 1);
    }
    for (const [id, name] of [
      [old, 'old'],
      [fresh, 'fresh'],
    ]) {
      const headers = { 'Cloudflare-Workers-Version-Overrides': `other="x", split="${id}"` };
      assert.equal((await ask('/', { host, headers })).text, `hello from ${name}`);
    }
    assert.equal((await ask('/', { host: '0000000b-split.acme.workers.localhost' })).text, 'hello from fresh');
  });

  it('switch over without a lost request, and the old process is released when its last request is done', async () => {
    const target = 'switch.acme.workers.localhost';
    bench.script('switch', { [versionId(20)]: 100 });
    const [before, behind] = [await bench.start(source('before')), await bench.start(source('behind'))];
    bench.isolates(versionId(20), [before]);
    const held = open(bench, '/lines', { host: target, method: 'POST' });
    held.write('a');
    const [response] = (await once(held, 'response')) as [IncomingMessage];
    bench.isolates(versionId(20), [behind]);
    assert.equal((await ask('/', { host: target })).text, 'hello from behind');
    assert.ok(!bench.released.includes(before));
    held.end('b');
    let text = '';
    for await (const chunk of response) text += chunk;
    assert.equal(text, 'ab');
    await until(() => bench.released.includes(before), 'the old process is released');
    assert.ok(bench.loads.some(({ isolates }) => isolates[before]?.open === 1) || bench.loads.length > 0);
  });
});
