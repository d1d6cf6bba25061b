/** The edge before real workerd processes: what eyeballs see over HTTP/1.1, and what Workers see of them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import { connect } from 'node:net';
import { after, describe, it } from 'node:test';
import type { TailEvent } from '../model/messages.ts';
import { openBench, until, versionId } from './testing.ts';

const SOURCE = `
let cancelled = 0, written = 0, calls = 0;
export default { async fetch(request) {
  const url = new URL(request.url);
  calls++;
  switch (url.pathname) {
    case '/see': return Response.json({ url: request.url, method: request.method, cf: request.cf, headers: [...request.headers] });
    case '/echo': return new Response(request.body, { headers: { 'x-length': request.headers.get('content-length') ?? 'none' } });
    case '/cookies': return new Response('', { headers: [['set-cookie', 'a=1'], ['set-cookie', 'b=2'], ['server', 'mine'], ['cf-ray', 'mine']] });
    case '/throw': throw new Error('secret detail');
    case '/own500': return new Response('mine', { status: 500 });
    case '/204': return new Response(null, { status: 204 });
    case '/304': return new Response(null, { status: 304, headers: { etag: '"x"' } });
    case '/state': return Response.json({ cancelled, written, calls });
    case '/lines': {
      const { readable, writable } = new TransformStream();
      const writer = writable.getWriter();
      const reader = request.body.getReader();
      (async () => { for (;;) { const { done, value } = await reader.read(); if (done) break; await writer.write(value); } await writer.close(); })();
      return new Response(readable);
    }
    case '/endless': return new Response(new ReadableStream({
      type: 'bytes',
      pull(c) { written += 65536; c.enqueue(new Uint8Array(65536)); },
      cancel() { cancelled++; },
    }));
    case '/slow': await new Promise((resolve) => setTimeout(resolve, 60000)); return new Response('late');
    case '/begin': return new Response(new ReadableStream({ start(c) { c.enqueue(new Uint8Array([98])); } }));
    case '/loop': for (;;);
  }
  return new Response('hello from ' + VERSION);
} }`;

const source = (version: string) => `const VERSION = '${version}';${SOURCE}`;
const HOST = 'shop.acme.workers.localhost';
const bench = await openBench();
after(() => bench.close());
const main = await bench.start(source('one'));
bench.script('shop', { [versionId(1)]: 100 });
bench.isolates(versionId(1), [main]);

interface Options {
  host?: string;
  method?: string;
  headers?: OutgoingHttpHeaders | string[];
  body?: string;
}

function open(path: string, { host = HOST, method, headers = {}, body }: Options = {}) {
  const all = Array.isArray(headers) ? ['Host', host, ...headers] : { host, ...headers };
  const request = httpRequest({
    host: '127.0.0.1',
    port: bench.listeners.httpPort,
    path,
    method,
    headers: all,
    agent: false,
  });
  if (method !== 'POST' || body !== undefined) request.end(body);
  return request;
}

async function answer(request: ReturnType<typeof open>) {
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += chunk;
  return { status: response.statusCode, headers: response.headers, raw: response.rawHeaders, text };
}

const ask = (path: string, options?: Options) => answer(open(path, options));

/** Sends bytes as they are and returns all that comes until the end. */
async function sendRaw(bytes: string): Promise<string> {
  const socket = connect(bench.listeners.httpPort, '127.0.0.1');
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
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-real-ip': '127.0.0.1',
      'x-kept': 'yes',
      'x-twice': '1, 2',
      cookie: 'a=1; b=2',
    });
  });

  it('the host of the request target where that is absolute', async () => {
    const text = await sendRaw(`GET http://${HOST}/see HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n`);
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
    const request = open('/lines', { method: 'POST' });
    request.write('first');
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    assert.equal(String((await once(response, 'data'))[0]), 'first');
    request.end('second');
    assert.equal(String((await once(response, 'data'))[0]), 'second');
    await once(response, 'end');
  });

  it('no more than it reads: a slow reader stops the Worker, a gone one ends it', async () => {
    const state = async () => JSON.parse((await ask('/state')).text);
    const request = open('/endless');
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
      const got = await ask('/', options as Options);
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
    assert.match(await sendRaw('OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'), /^HTTP\/1.1 400 /);
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
    const held = open('/lines', { host: target, method: 'POST' });
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

describe('faults', () => {
  it("an exception: 1101, without its text; a Worker's own 500 is left alone", async () => {
    for (const method of ['GET', 'POST']) {
      const { status, text, headers } = await ask('/throw', { method, body: method === 'POST' ? 'x' : undefined });
      assert.equal(status, 500);
      assert.match(text, /Error 1101: Worker threw exception/);
      assert.ok(text.includes(headers['cf-ray'] as string));
      assert.doesNotMatch(text, /secret detail/);
    }
    assert.deepEqual((({ status, text }) => [status, text])(await ask('/own500')), [500, 'mine']);
  });

  it('a Worker that sleeps is woken once for many requests, also those with a body', async () => {
    bench.script('sleeper', { [versionId(30)]: 100 });
    bench.wakes = 0;
    const started = bench.start(source('sleeper'));
    bench.onWake = async (version) => bench.isolates(version, [await started]);
    const host = 'sleeper.acme.workers.localhost';
    const texts = await Promise.all(
      Array.from({ length: 10 }, async () => (await ask('/echo', { host, method: 'POST', body: 'hi' })).text),
    );
    assert.deepEqual(new Set(texts), new Set(['hi']));
    assert.equal(bench.wakes, 1);
  });

  it('a process that is gone is replaced before the eyeball notices, bodies included', async () => {
    bench.script('gone', { [versionId(31)]: 100 });
    bench.isolates(versionId(31), ['absent']);
    const next = await bench.start(source('next'));
    bench.onWake = async (version) => bench.isolates(version, [next]);
    assert.equal(
      (await ask('/echo', { host: 'gone.acme.workers.localhost', method: 'POST', body: 'kept' })).text,
      'kept',
    );
  });

  for (const [verdict, status, code, outcome] of [
    ['exceededCpu', 503, 1102, 'exceededCpu'],
    ['exceededMemory', 503, 1102, 'exceededMemory'],
    ['exception', 500, 1101, 'exception'],
  ] as const) {
    it(`a process that dies with a request, ${verdict}: ${status}, ${code}, and a trace for those who tail`, async () => {
      const [name, version] = [`dies-${verdict.toLowerCase()}`, versionId(40)];
      bench.script(name, { [version]: 100 });
      const id = await bench.start(source('dies'));
      bench.isolates(version, [id], true);
      bench.verdict = verdict;
      const traces: [string, TailEvent][] = [];
      const stop = bench.hub.subscribe('tail.>', (trace, subject) => void traces.push([subject, trace]));
      const host = `${name}.acme.workers.localhost`;
      const held = ask('/loop?q=1', {
        host,
        method: 'POST',
        body: 'x',
        headers: { authorization: 'Bearer x', 'x-plain': 'y', accept: 'application/json' },
      });
      await until(() => bench.edge.snapshot.instances.open > 0, 'the request is under way');
      await bench.kill(id);
      const got = await held;
      assert.deepEqual([got.status, JSON.parse(got.text).errors[0].code], [status, code]);
      await until(() => traces.length > 0, 'the trace is published');
      const [subject, trace] = traces[0]!;
      stop();
      assert.equal(subject, `tail.${'a'.repeat(32)}.${name}`);
      assert.equal(trace.outcome, outcome);
      const { url, method, headers } = trace.event!.request as {
        url: string;
        method: string;
        headers: Record<string, string>;
      };
      assert.deepEqual([url, method], [`http://${host}/loop?q=1`, 'POST']);
      assert.deepEqual([headers.authorization, headers['x-plain']], ['REDACTED', 'y']);
    });
  }

  it('a request over a limit is not tried again, though it could be repeated', async () => {
    bench.script('burns', { [versionId(50)]: 100 });
    const id = await bench.start(source('burns'));
    bench.isolates(versionId(50), [id]);
    const host = 'burns.acme.workers.localhost';
    await ask('/', { host });
    bench.verdict = 'exceededCpu';
    bench.wakes = 0;
    const held = ask('/loop', { host });
    await until(() => bench.edge.snapshot.instances.open > 0, 'the request is under way');
    await bench.kill(id);
    assert.equal((await held).status, 503);
    assert.equal(bench.wakes, 0);
  });

  it('an answer that was begun is cut, never ended as if it were whole', async () => {
    bench.script('cut', { [versionId(51)]: 100 });
    const id = await bench.start(source('cut'));
    bench.isolates(versionId(51), [id]);
    const [response] = (await once(open('/begin', { host: 'cut.acme.workers.localhost' }), 'response')) as [
      IncomingMessage,
    ];
    await once(response, 'data');
    const ended = assert.rejects(once(response.resume(), 'end'), { code: 'ECONNRESET' });
    await bench.kill(id);
    await ended;
  });

  it('an eyeball that leaves while its Worker is woken leaves nothing behind', async () => {
    bench.script('late', { [versionId(52)]: 100 });
    const waiting = Promise.withResolvers<void>();
    const id = await bench.start(source('late'));
    bench.onWake = async (version) => {
      await waiting.promise;
      return bench.isolates(version, [id]);
    };
    bench.wakes = 0;
    const request = open('/endless', { host: 'late.acme.workers.localhost' }).on('error', () => undefined);
    await until(() => bench.wakes === 1, 'the Worker is being woken');
    request.destroy();
    await new Promise((resolve) => setTimeout(resolve, 50));
    waiting.resolve();
    assert.equal((await ask('/', { host: 'late.acme.workers.localhost' })).text, 'hello from late');
    await until(() => bench.edge.snapshot.instances.open === 0, 'no request is open');
  });
});
