/** What one client may take, each bound with a client that goes beyond it, and a good one beside it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type ClientHttp2Session, connect as connectHttp2, constants } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { after, describe, it } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { Settings } from '../model/settings.ts';
import {
  answer,
  type Bench,
  HOST,
  HTTP2_PREFACE,
  http2Fields,
  http2Frame,
  open,
  openBench,
  source,
  until,
  versionId,
} from './testing.ts';

/** An edge with these limits and one Worker. */
async function benchWith(limits: Partial<Settings['limits']>, over: Partial<Settings> = {}): Promise<Bench> {
  const { testSettings } = await import('../config/testing.ts');
  const bench = await openBench({ ...over, limits: { ...testSettings('/').limits, ...limits } });
  after(() => bench.close());
  const id = await bench.start(source('1'));
  bench.script('shop', { [versionId(1)]: 100 });
  bench.isolates(versionId(1), [id]);
  return bench;
}

/** Opens a connection; tells when it is closed. */
async function dial(port: number): Promise<{ socket: Socket; closed: Promise<unknown>; text: () => string }> {
  // From another address than the edge's: this machine itself has no bound.
  const socket = connect({ port, host: '127.0.0.1', localAddress: '127.0.0.2' });
  let text = '';
  socket.on('error', () => undefined);
  socket.on('data', (bytes) => {
    text += bytes.toString('latin1');
  });
  const closed = new Promise((resolve) => socket.once('close', resolve));
  await Promise.race([new Promise((resolve) => socket.once('connect', resolve)), closed]);
  return { socket, closed, text: () => text };
}

const stillGood = async (bench: Bench) => assert.equal((await answer(open(bench, '/'))).status, 200);
const get = `GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;

function session(bench: Bench): ClientHttp2Session {
  const made = connectHttp2(`https://127.0.0.1:${bench.httpsPort}`, { ca: bench.certificates.caPem, servername: HOST });
  made.on('error', () => undefined);
  return made;
}

/** A connection for HTTP/2 that frames are written to. */
async function dialHttp2(bench: Bench): Promise<TLSSocket> {
  const socket = connectTls({
    port: bench.httpsPort,
    host: '127.0.0.1',
    ca: bench.certificates.caPem,
    servername: HOST,
    ALPNProtocols: ['h2'],
  });
  socket.on('error', () => undefined);
  await once(socket, 'secureConnect');
  return socket;
}

describe('connections', () => {
  it('are bounded by address, and free again when one is closed', async () => {
    const bench = await benchWith({ connectionsPerAddress: 3 });
    const held = await Promise.all([1, 2, 3].map(() => dial(bench.httpPort)));
    await until(() => bench.edge.connections.open === 3, 'three are open');
    await (await dial(bench.httpPort)).closed;
    assert.equal(bench.edge.hits.take().connections_per_address, 1);
    held[0]!.socket.destroy();
    await until(() => bench.edge.connections.open === 2, 'one is closed');
    await stillGood(bench);
    const self = await Promise.all(
      Array.from({ length: 5 }, async () => {
        const socket = connect(bench.httpPort, '127.0.0.1');
        await once(socket, 'connect');
        return socket;
      }),
    );
    await until(() => bench.edge.connections.open === 7, 'the machine itself may have more');
    for (const socket of [...self, ...held.map((each) => each.socket)]) socket.destroy();
    await until(() => bench.edge.connections.open === 0, 'all are closed');
  });

  it('are bounded in all', async () => {
    const bench = await benchWith({ connections: 2 });
    const held = await Promise.all([1, 2].map(() => dial(bench.httpsPort)));
    await until(() => bench.edge.connections.open === 2, 'two are open');
    await (await dial(bench.httpPort)).closed;
    assert.equal(bench.edge.hits.take().connections, 1);
    for (const { socket } of held) socket.destroy();
  });

  it('carry a bounded number of requests', async () => {
    const bench = await benchWith({ requestsPerConnection: 2 });
    const { socket, closed, text } = await dial(bench.httpPort);
    socket.write(get);
    await until(() => /hello/.test(text()), 'the first answer');
    assert.doesNotMatch(text(), /connection: close/i);
    socket.write(get);
    await closed;
    assert.match(text(), /connection: close/i);
    const client = session(bench);
    const gone = once(client, 'goaway');
    for (let i = 0; i < 2; i++) {
      const stream = client.request({ ':path': '/', ':authority': HOST });
      stream.resume();
      await once(stream, 'close');
      assert.equal(stream.rstCode, constants.NGHTTP2_NO_ERROR);
    }
    await gone;
    client.destroy();
  });
});

describe('a slow client is cut', async () => {
  const bench = await benchWith({
    headersTimeoutMs: 300,
    handshakeTimeoutMs: 300,
    idleTimeoutMs: 400,
    stallTimeoutMs: 400,
    minRateBytes: 1000,
  });

  it('if it does not send a header section', async () => {
    const silent = await dial(bench.httpPort);
    const trickling = await dial(bench.httpPort);
    trickling.socket.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n`);
    const timer = setInterval(() => trickling.socket.write('X-A: b\r\n'), 50);
    await Promise.all([silent.closed, trickling.closed]);
    clearInterval(timer);
    assert.match(trickling.text(), /^HTTP\/1\.1 408 /);
  });

  it('if it does not shake hands', async () => {
    await (await dial(bench.httpsPort)).closed;
  });

  it('if it keeps a connection and asks for nothing', async () => {
    const { socket, closed, text } = await dial(bench.httpPort);
    socket.write(get);
    await closed;
    assert.match(text(), /hello/);
  });

  it('if it stops in the middle of a body', async () => {
    const { socket, closed } = await dial(bench.httpPort);
    socket.write(`POST /echo HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 1000\r\n\r\nbegin`);
    await closed;
    assert.ok(bench.edge.hits.take().stall_timeout_ms);
  });

  it('if its body only trickles', async () => {
    const { socket, closed } = await dial(bench.httpPort);
    socket.write(`POST /echo HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 100000\r\n\r\nbegin`);
    const timer = setInterval(() => socket.write('x'), 50);
    await closed;
    clearInterval(timer);
    assert.ok(bench.edge.hits.take().stall_timeout_ms);
  });

  it('if it does not read its answer, over HTTP/1.1 and HTTP/2', async () => {
    const { socket, closed } = await dial(bench.httpPort);
    socket.pause();
    socket.write(`GET /endless HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
    await until(() => (bench.edge.hits.take().stall_timeout_ms ?? 0) > 0, 'the reader is cut');
    socket.resume();
    await closed;
    const client = session(bench);
    const stream = client.request({ ':path': '/endless', ':authority': HOST });
    stream.on('error', () => undefined);
    stream.pause();
    // The window of the stream fills, and is never opened again.
    await until(() => (bench.edge.hits.take().stall_timeout_ms ?? 0) > 0, 'the stream is cut');
    client.destroy();
  });

  it('if it has given up its only request in the middle of the body, and asks for nothing', async () => {
    const client = session(bench);
    const gone = once(client, 'close');
    const stream = client.request({ ':path': '/slow', ':authority': HOST, ':method': 'POST' });
    stream.on('error', () => undefined);
    stream.write(Buffer.alloc(1_000_000));
    await until(() => bench.edge.snapshot.instances.open === 1, 'it is under way');
    await new Promise((resolve) => setTimeout(resolve, 50));
    stream.close(constants.NGHTTP2_NO_ERROR);
    await gone;
  });

  it('if it reads nothing from an HTTP/2 connection whose windows are open', async () => {
    await until(() => bench.edge.connections.open === 0, 'no other is there');
    const socket = await dialHttp2(bench);
    socket.pause();
    const get = http2Fields([
      [':method', 'GET'],
      [':scheme', 'https'],
      [':authority', 'HOST'],
      [':path', '/endless'],
    ]);
    socket.write(
      Buffer.concat([
        HTTP2_PREFACE,
        // SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_UPDATE, HEADERS
        http2Frame(4, 0, 0, Buffer.from([0, 4, 0x7f, 0xff, 0xff, 0xff])),
        http2Frame(8, 0, 0, Buffer.from([0x7f, 0, 0, 0])),
        http2Frame(1, 5, 1, get),
      ]),
    );
    await until(() => bench.edge.connections.open === 1, 'it is there');
    await until(() => bench.edge.connections.open === 0, 'it is cut');
    socket.destroy();
  });

  it('if it keeps an HTTP/2 connection, asks for nothing, and does not look at its end', async () => {
    await until(() => bench.edge.connections.open === 0, 'no other is there');
    const socket = await dialHttp2(bench);
    socket.pause();
    socket.write(Buffer.concat([HTTP2_PREFACE, http2Frame(4, 0, 0, Buffer.alloc(0))]));
    await until(() => bench.edge.connections.open === 1, 'it is there');
    await until(() => bench.edge.connections.open === 0, 'it is cut');
    socket.destroy();
  });

  it('but not one that waits for its Worker', async () => {
    bench.edge.hits.take();
    const { socket, text } = await dial(bench.httpPort);
    socket.write(`GET /slow HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
    const client = session(bench);
    const stream = client.request({ ':path': '/slow', ':authority': HOST });
    stream.on('error', () => undefined);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    assert.equal(bench.edge.hits.take().stall_timeout_ms, undefined);
    assert.equal(text(), '');
    assert.ok(!socket.destroyed && !stream.destroyed && !client.destroyed);
    socket.destroy();
    client.destroy();
    await stillGood(bench);
  });
});

describe('an HTTP/2 client', () => {
  it('that resets its streams at once is sent away', async () => {
    const bench = await benchWith({ http2ResetsPerMinute: 50 });
    const client = session(bench);
    await once(client, 'connect');
    const gone = new Promise((resolve) => client.once('close', resolve));
    const timer = setInterval(() => {
      for (let i = 0; i < 20 && !client.closed && !client.destroyed; i++) {
        const stream = client.request({ ':path': '/slow', ':authority': HOST });
        stream.on('error', () => undefined);
        stream.close(constants.NGHTTP2_CANCEL);
      }
    }, 5);
    await gone;
    clearInterval(timer);
    await stillGood(bench);
  });

  it('that pings without end is sent away', async () => {
    const bench = await benchWith({ http2ControlFramesPerMinute: 100 });
    const client = session(bench);
    await once(client, 'connect');
    const gone = new Promise((resolve) => client.once('close', resolve));
    const timer = setInterval(() => {
      for (let i = 0; i < 5 && !client.destroyed; i++) client.ping(() => undefined);
    }, 2);
    await gone;
    clearInterval(timer);
    assert.equal(bench.edge.hits.take().http2_control_frames_per_minute, 1);
    await stillGood(bench);
  });

  it('that sends CONTINUATION frames without end is sent away', async () => {
    const bench = await benchWith({});
    const socket = await dialHttp2(bench);
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.write(
      Buffer.concat([HTTP2_PREFACE, http2Frame(4, 0, 0, Buffer.alloc(0)), http2Frame(1, 0, 1, Buffer.from([0x82]))]),
    );
    const timer = setInterval(() => socket.destroyed || socket.write(http2Frame(9, 0, 1, Buffer.from([0x82]))), 2);
    socket.resume();
    await closed;
    clearInterval(timer);
    await stillGood(bench);
  });
});

describe('a body', () => {
  it('longer than the plan has it is refused with 413, announced or not', async () => {
    const { testSettings } = await import('../config/testing.ts');
    const bench = await benchWith({}, { plan: { ...testSettings('/').plan, bodyBytes: 1000 } });
    const post = (headers: object, body: string) =>
      answer(open(bench, '/echo', { method: 'POST', headers: { ...headers }, body }));
    assert.equal((await post({ 'content-length': 1000 }, 'x'.repeat(1000))).text.length, 1000);
    assert.equal((await post({ 'content-length': 1001 }, 'x'.repeat(1001))).status, 413);
    // /see answers without reading; what reads the body is told.
    const chunked = open(bench, '/lines', { method: 'POST', headers: { 'transfer-encoding': 'chunked' } });
    chunked.on('error', () => undefined);
    chunked.write('x'.repeat(600));
    chunked.write('x'.repeat(600));
    const outcome = await Promise.race([
      once(chunked, 'response').then(([response]) => response.statusCode),
      once(chunked, 'close'),
    ]);
    // Its answer may have begun already: then it is cut.
    assert.ok(outcome === 413 || outcome === 200 || Array.isArray(outcome), String(outcome));
    await until(() => bench.records.some(({ outcome }) => outcome === 'tooLarge'), 'it is recorded');
    assert.ok(bench.records.every(({ bytesIn }) => bytesIn <= 1200));
  });
});

describe('behind a load balancer', () => {
  interface Seen {
    url: string;
    headers: [string, string][];
  }
  const clientOf = (text: string) => Object.fromEntries((JSON.parse(text) as Seen).headers)['cf-connecting-ip'];

  it('Forwarded and X-Forwarded-For count from trusted proxies only', async () => {
    const headers = { 'x-forwarded-for': '6.6.6.6, 198.51.100.7', 'x-forwarded-proto': 'https' };
    const trusting = await benchWith({}, { trustedProxies: ['127.0.0.0/8'] });
    const seen = await answer(open(trusting, '/see', { headers }));
    assert.equal(clientOf(seen.text), '198.51.100.7');
    assert.match(JSON.parse(seen.text).url, /^https:/);
    assert.equal(clientOf((await answer(open(trusting, '/see'))).text), '127.0.0.1');
    const other = await benchWith({});
    assert.equal(clientOf((await answer(open(other, '/see', { headers }))).text), '127.0.0.1');
  });

  it('the PROXY protocol says who asks, before HTTP and before TLS', async () => {
    const bench = await benchWith({ handshakeTimeoutMs: 500 });
    const [, , http, https] = bench.listeners.ports;
    const ask = `GET /see HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`;
    const plain = await dial(http!);
    plain.socket.write(`PROXY TCP4 198.51.100.7 127.0.0.1 1 2\r\n${ask}`);
    await plain.closed;
    assert.match(plain.text(), /"cf-connecting-ip","198\.51\.100\.7"/);
    const raw = connect(https!, '127.0.0.1');
    raw.write('PROXY TCP6 2001:db8::7 ::1 1 2\r\n');
    const secure = connectTls({ socket: raw, ca: bench.certificates.caPem, servername: HOST });
    secure.write(ask);
    let text = '';
    for await (const chunk of secure.setEncoding('latin1')) text += chunk;
    assert.match(text, /"cf-connecting-ip","2001:db8::7"/);
    const without = await dial(http!);
    without.socket.write(ask);
    await without.closed;
    assert.equal(without.text(), '');
    await (await dial(http!)).closed;
    assert.equal(bench.edge.hits.take().proxy_protocol, 2);
  });
});

describe('the oldest version of TLS', () => {
  it('may be another for one host', async () => {
    const other = HOST.replace('shop', 'old');
    const bench = await benchWith(
      {},
      {
        tls: {
          minVersion: 'TLSv1.2',
          hosts: { [HOST]: { minVersion: 'TLSv1.3' }, [other]: { minVersion: 'TLSv1.1' } },
          certificates: [],
        },
      },
    );
    bench.script('old', { [versionId(1)]: 100 });
    const works = (servername: string, version: 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3') =>
      new Promise((resolve) => {
        const socket = connectTls({
          port: bench.httpsPort,
          host: '127.0.0.1',
          ca: bench.certificates.caPem,
          servername,
          minVersion: version,
          maxVersion: version,
          ciphers: 'DEFAULT@SECLEVEL=0',
        });
        socket.on('error', () => resolve(false));
        socket.on('close', () => resolve(false));
        socket.on('secureConnect', () =>
          socket.write(`GET / HTTP/1.1\r\nHost: ${servername}\r\nConnection: close\r\n\r\n`),
        );
        socket.on('data', () => resolve(true));
      });
    assert.deepEqual(
      await Promise.all([
        works(HOST, 'TLSv1.2'),
        works(HOST, 'TLSv1.3'),
        works(other, 'TLSv1.1'),
        works(other, 'TLSv1.2'),
      ]),
      [false, true, true, true],
    );
    bench.script('usual', { [versionId(1)]: 100 });
    assert.equal(await works(HOST.replace('shop', 'usual'), 'TLSv1.1'), false);
  });
});
