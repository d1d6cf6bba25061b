/** TLS, HTTP/2, WebSockets and the end of an edge process, before real workerd processes. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { type ClientHttp2Session, connect as connectHttp2, type OutgoingHttpHeaders } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import { after, describe, it } from 'node:test';
import { connect as connectTls } from 'node:tls';
import WebSocket from 'ws';
import { openBench, until, versionId } from './testing.ts';

const SOURCE = `
let cancelled = 0;
export default { async fetch(request) {
  const url = new URL(request.url);
  if (request.headers.get('upgrade') === 'websocket') {
    if (url.pathname === '/refuse') return new Response('not you', { status: 403, headers: { 'x-why': 'no' } });
    if (url.pathname === '/throw') throw new Error('secret');
    if (url.pathname === '/hold') return new Promise((resolve) => setTimeout(resolve, 60000));
    const { 0: client, 1: server } = new WebSocketPair();
    server.accept();
    server.binaryType = 'arraybuffer';
    server.addEventListener('message', ({ data }) => {
      if (data === 'bye') { server.send('x'.repeat(500000)); server.close(4000, 'done'); } else server.send(data);
    });
    return new Response(null, { status: 101, webSocket: client, headers: { 'x-cf': JSON.stringify(request.cf) } });
  }
  switch (url.pathname) {
    case '/see': return Response.json({ url: request.url, method: request.method, cf: request.cf, headers: [...request.headers] });
    case '/echo': return new Response(request.body);
    case '/cookies': return new Response('', { headers: [['set-cookie', 'a=1'], ['set-cookie', 'b=2']] });
    case '/state': return Response.json({ cancelled });
    case '/endless': return new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(65536)); }, cancel() { cancelled++; } }));
    case '/wait': await new Promise((resolve) => setTimeout(resolve, 300)); return new Response('waited');
  }
  return new Response('hello');
} }`;

const HOST = 'shop.acme.workers.localhost';
const bench = await openBench();
after(() => bench.close());
const main = await bench.start(SOURCE);
bench.script('shop', { [versionId(1)]: 100 });
bench.isolates(versionId(1), [main]);

function tlsOptions(servername = HOST) {
  return { host: '127.0.0.1', port: bench.httpsPort, servername, ca: bench.certificates.caPem };
}

async function openHttp2(): Promise<ClientHttp2Session> {
  const session = connectHttp2(`https://${HOST}:${bench.httpsPort}`, {
    ...tlsOptions(),
    ALPNProtocols: ['h2'],
  });
  await once(session, 'connect');
  return session;
}

async function askHttp2(session: ClientHttp2Session, headers: OutgoingHttpHeaders, body?: Buffer) {
  const stream = session.request(
    { ':authority': `${HOST}:${bench.httpsPort}`, ...headers },
    { endStream: body === undefined },
  );
  if (body) stream.end(body);
  const [answer] = await once(stream, 'response');
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return { headers: answer, body: Buffer.concat(chunks) };
}

async function askHttps(path: string, headers = {}) {
  const request = httpsRequest({ ...tlsOptions(), path, headers: { host: HOST, ...headers }, agent: false }).end();
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += chunk;
  return { status: response.statusCode, text };
}

describe('TLS', () => {
  it('shows the certificate of the server name, and tells the Worker of protocol and cipher', async () => {
    const { cf, url, headers } = JSON.parse((await askHttps('/see')).text);
    assert.equal(url, `https://${HOST}/see`);
    assert.deepEqual(cf, {
      colo: 'DEV',
      httpProtocol: 'HTTP/1.1',
      tlsVersion: 'TLSv1.3',
      tlsCipher: 'AEAD-AES128-GCM-SHA256',
    });
    assert.equal(new Map(headers).get('cf-visitor'), '{"scheme":"https"}');
  });

  it('speaks TLS 1.2, and nothing older', async () => {
    const version = (maxVersion: 'TLSv1.1' | 'TLSv1.2') =>
      new Promise((resolve, reject) => {
        const options = { ...tlsOptions(), minVersion: 'TLSv1' as const, maxVersion, ciphers: 'DEFAULT@SECLEVEL=0' };
        const socket = connectTls(options, () =>
          resolve(`${socket.getProtocol()} ${socket.destroy().getCipher()?.name ?? ''}`.split(' ')[0]),
        );
        socket.on('error', reject);
      });
    assert.equal(await version('TLSv1.2'), 'TLSv1.2');
    await assert.rejects(version('TLSv1.1'));
  });

  it('ends the handshake for a name that is not served here', async () => {
    const socket = connectTls(tlsOptions('nobody.example'));
    await assert.rejects(once(socket, 'secureConnect'));
  });

  it('wakes a Worker by its server name before any request', async () => {
    bench.script('sleeper', { [versionId(2)]: 100 });
    bench.wakes = 0;
    const started = bench.start(SOURCE);
    bench.onWake = async (version) => bench.isolates(version, [await started]);
    const socket = connectTls(tlsOptions('sleeper.acme.workers.localhost'));
    await until(() => bench.wakes === 1, 'the Worker is woken');
    socket.destroy();
    await until(() => bench.edge.snapshot.instances.pick(versionId(2)) !== undefined, 'the Worker is awake');
  });

  it('answers an upgrade to h2c as a plain request', async () => {
    const { status, text } = await askHttps('/', { connection: 'Upgrade', upgrade: 'h2c' });
    assert.deepEqual([status, text], [200, 'hello']);
  });
});

describe('HTTP/2', () => {
  it('carries URL, cookies in crumbs, no headers of the connection, nothing spoofed', async () => {
    const session = await openHttp2();
    const { body } = await askHttp2(session, {
      ':path': '/see?x=1',
      cookie: ['a=1', 'b=2'],
      'cf-connecting-ip': '6.6.6.6',
      'selvedge-cf': '{}',
      'x-forwarded-for': '6.6.6.6',
      'x-text': 'č\u010d\u010aX: y'
        .split('')
        .map((c) => (c.charCodeAt(0) > 255 ? 'é' : c))
        .join(''),
    });
    session.close();
    const { url, cf, headers } = JSON.parse(body.toString());
    const seen = new Map<string, string>(headers);
    assert.equal(url, `https://${HOST}:${bench.httpsPort}/see?x=1`);
    assert.equal(cf.httpProtocol, 'HTTP/2');
    assert.deepEqual(
      [seen.get('cookie'), seen.get('cf-connecting-ip'), seen.get('x-forwarded-for')],
      ['a=1; b=2', '127.0.0.1', '127.0.0.1'],
    );
    assert.deepEqual(
      [...seen.keys()].filter((name) => name.startsWith(':') || name.startsWith('selvedge-')),
      [],
    );
  });

  it('carries bodies of any length, many at a time on one connection', async () => {
    const session = await openHttp2();
    const bodies = Array.from({ length: 20 }, (_, i) => Buffer.alloc(i * 20_000, i));
    const answers = await Promise.all(
      bodies.map((body) => askHttp2(session, { ':path': '/echo', ':method': 'POST' }, body)),
    );
    answers.forEach(({ body }, i) => {
      assert.ok(body.equals(bodies[i]!));
    });
    session.close();
  });

  it('takes more of a body in one round trip than the default', async () => {
    const session = await openHttp2();
    await until(() => session.remoteSettings.initialWindowSize === 256 * 1024, 'the settings are here');
    await until(() => session.state.remoteWindowSize === 1024 * 1024, 'the window is open');
    session.close();
  });

  it('gives all cookies, HEAD without a body, and error pages', async () => {
    const session = await openHttp2();
    assert.deepEqual((await askHttp2(session, { ':path': '/cookies' })).headers['set-cookie'], ['a=1', 'b=2']);
    assert.equal((await askHttp2(session, { ':path': '/see', ':method': 'HEAD' })).body.length, 0);
    const { headers, body } = await askHttp2(session, { ':path': '/', ':authority': 'nobody.example' });
    assert.equal(headers[':status'], 404);
    assert.match(body.toString(), /Nothing is served under this name/);
    session.close();
  });

  it('tells the Worker when a stream is given up', async () => {
    const session = await openHttp2();
    for (const code of [0 /* NO_ERROR */, 8 /* CANCEL */]) {
      const stream = session.request({ ':authority': HOST, ':path': '/endless' });
      await once(stream, 'response');
      stream.close(code);
    }
    let cancelled = 0;
    while (cancelled < 2)
      cancelled = JSON.parse((await askHttp2(session, { ':path': '/state' })).body.toString()).cancelled;
    session.destroy();
  });
});

describe('an HTTP/2 stream that is given up before its answer', () => {
  for (const code of [0 /* NO_ERROR */, 8 /* CANCEL */, 2 /* INTERNAL_ERROR */]) {
    for (const method of ['GET', 'HEAD', 'POST']) {
      it(`with code ${code} is canceled, and harms nobody: ${method}`, async () => {
        const session = await openHttp2();
        bench.records.length = 0;
        const stream = session.request({ ':authority': HOST, ':path': '/wait', ':method': method });
        stream.on('error', () => undefined);
        // More than is taken of a body that the Worker does not read.
        if (method === 'POST') stream.write(Buffer.alloc(1_000_000));
        await until(() => bench.edge.snapshot.instances.open === 1, 'it is under way');
        await new Promise((resolve) => setTimeout(resolve, 50));
        stream.close(code);
        await until(() => bench.edge.snapshot.instances.open === 0, 'the exchange is over');
        assert.deepEqual(
          bench.records.map(({ outcome }) => outcome),
          ['canceled'],
        );
        // The Worker answers meanwhile.
        assert.equal((await askHttp2(session, { ':path': '/wait' })).body.toString(), 'waited');
        session.destroy();
      });
    }
  }
});

describe('WebSockets', () => {
  const url = (path: string, host = HOST, scheme = 'ws') =>
    `${scheme}://${host}:${scheme === 'ws' ? bench.httpPort : bench.httpsPort}${path}`;
  const open = (path: string, host?: string, scheme?: string) =>
    new WebSocket(url(path, host, scheme), {
      // Names below .localhost are this machine (RFC 6761); not every resolver knows.
      lookup: (_name, options, done) =>
        options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4),
      ca: bench.certificates.caPem,
      headers: { 'selvedge-cf': '{"spoofed":1}' },
    });

  for (const scheme of ['ws', 'wss']) {
    it(`${scheme}: text and bytes both ways, and the close with its last message`, async () => {
      const socket = open('/', HOST, scheme);
      const [[response]] = (await Promise.all([once(socket, 'upgrade'), once(socket, 'open')])) as [
        [IncomingMessage],
        unknown,
      ];
      assert.equal(JSON.parse(response.headers['x-cf'] as string).colo, 'DEV');
      assert.equal(JSON.parse(response.headers['x-cf'] as string).spoofed, undefined);
      socket.send('hello');
      assert.equal(String((await once(socket, 'message'))[0]), 'hello');
      const bytes = Buffer.alloc(1_000_000, 7);
      socket.send(bytes);
      assert.ok(bytes.equals((await once(socket, 'message'))[0]));
      socket.send('bye');
      const [[last], [code]] = await Promise.all([once(socket, 'message'), once(socket, 'close')]);
      assert.equal(last.length, 500_000);
      assert.equal(code, 4000);
    });
  }

  it('understands "Upgrade: WebSocket"', async () => {
    const headers = {
      host: HOST,
      connection: 'keep-alive, Upgrade',
      upgrade: 'WebSocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    };
    const request = httpRequest({ host: '127.0.0.1', port: bench.httpPort, headers, agent: false }).end();
    const [response, socket] = await once(request, 'upgrade');
    socket.destroy();
    assert.equal(response.headers['sec-websocket-accept'], 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
  });

  const refused = async (socket: WebSocket) => {
    const [, response] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage];
    let text = '';
    for await (const chunk of response.setEncoding('utf8')) text += chunk;
    return { status: response.statusCode, headers: response.headers, text };
  };

  it('passes on the answer of a Worker that does not want one', async () => {
    const { status, headers, text } = await refused(open('/refuse'));
    assert.deepEqual([status, headers['x-why'], text], [403, 'no', 'not you']);
  });

  it('shows the page of an exception', async () => {
    const { status, text } = await refused(open('/throw'));
    assert.equal(status, 500);
    assert.match(text, /Error 1101/);
    assert.doesNotMatch(text, /secret/);
  });

  it('goes to another process where the first one is gone', async () => {
    bench.script('gone', { [versionId(3)]: 100 });
    bench.isolates(versionId(3), ['absent']);
    const next = await bench.start(SOURCE);
    bench.onWake = async (version) => bench.isolates(version, [next]);
    const socket = open('/', 'gone.acme.workers.localhost');
    await once(socket, 'open');
    socket.terminate();
  });

  it('ends with its process, and says why if it was not open yet', async () => {
    bench.script('dies', { [versionId(4)]: 100 });
    const id = await bench.start(SOURCE);
    bench.isolates(versionId(4), [id]);
    bench.verdict = 'exceededMemory';
    const socket = open('/', 'dies.acme.workers.localhost');
    await once(socket, 'open');
    const held = refused(open('/hold', 'dies.acme.workers.localhost'));
    await until(() => bench.edge.snapshot.instances.open >= 2, 'both are with the process');
    const closed = once(socket, 'close');
    await bench.kill(id);
    assert.equal((await closed)[0], 1006);
    const { status, text } = await held;
    assert.equal(status, 503);
    assert.match(text, /Error 1102/);
    await until(() => bench.edge.snapshot.instances.open === 0, 'no request is open');
  });
});

describe('an edge process that stops', () => {
  it('answers what is under way, takes nothing new, and does not wait for idle connections', async () => {
    const other = await openBench();
    const id = await other.start(SOURCE);
    other.script('shop', { [versionId(1)]: 100 });
    other.isolates(versionId(1), [id]);
    const { httpPort, httpsPort } = other;
    const http1 = httpRequest({
      host: '127.0.0.1',
      port: httpPort,
      path: '/wait',
      headers: { host: HOST, connection: 'keep-alive' },
    }).end();
    const session = connectHttp2(`https://${HOST}:${httpsPort}`, {
      host: '127.0.0.1',
      servername: HOST,
      ca: other.certificates.caPem,
    });
    const stream = session.request({ ':path': '/wait', ':authority': HOST });
    const goaway = once(session, 'goaway');
    await until(() => other.edge.snapshot.instances.open === 2, 'both are under way');
    const closing = other.listeners.close(10_000);
    const [response] = (await once(http1, 'response')) as [IncomingMessage];
    assert.deepEqual([response.statusCode, response.headers.connection], [200, 'close']);
    response.resume();
    let text = '';
    for await (const chunk of stream.setEncoding('utf8')) text += chunk;
    assert.equal(text, 'waited');
    await Promise.all([goaway, closing]);
    const late = httpRequest({ host: '127.0.0.1', port: httpPort });
    await assert.rejects(once(late, 'response'), { code: 'ECONNREFUSED' });
    await other.close();
  });
});
