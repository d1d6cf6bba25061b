import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createSecureServer, type Http2SecureServer } from 'node:http2';
import { createServer as createHttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import { after, before, beforeEach, describe, it } from 'node:test';
import { createAddresses } from './addresses.ts';
import { type Connector, createConnector } from './connector.ts';
import { Http1 } from './http1.ts';
import { toOriginError } from './origin-errors.ts';
import { ask, bodyOf, failure, listening, read, resolver, selfSigned, to, values } from './testing.ts';
import { createTransport, type Transport } from './transport.ts';

let cert: string;
let key: string;
let connector: Connector;
let strict: Connector;
const names = resolver({
  'secure.example': ['127.0.0.1'],
  'other.example': ['127.0.0.1'],
  'plain.example': ['127.0.0.1'],
});
const transports: Transport[] = [];
function transport(by = connector): Transport {
  const made = createTransport(by);
  transports.push(made);
  return made;
}

before(async () => {
  ({ cert, key } = await selfSigned('secure.example'));
  const addresses = createAddresses(['127.0.0.1'], names);
  connector = createConnector(addresses, () => false, cert);
  strict = createConnector(addresses, () => false);
});
after(() => {
  for (const each of transports) each.close();
});

describe('HTTP/1.1 to origins', () => {
  let server: Server;
  let port: number;
  let answer: (req: IncomingMessage, res: ServerResponse) => void;
  const connections = new Set<Socket>();
  before(async () => {
    ({ server, port } = await listening(createHttpServer((req, res) => answer(req, res))));
    server.on('connection', (socket) => connections.add(socket));
  });
  beforeEach(() => connections.clear());
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  const plain = () => to(`http://plain.example:${port}/`);

  it('sends the head before the first byte of the body', async () => {
    answer = (req, res) => void res.writeHead(200, { 'x-framing': req.headers['transfer-encoding'] }).flushHeaders();
    const { raw, body } = await ask(transport(), plain(), { method: 'POST', body: () => undefined });
    assert.deepEqual(values(raw, 'x-framing'), ['chunked']);
    body.destroy();
  });

  it('keeps connections, and makes no more than requests are open', async () => {
    answer = (_req, res) => void setTimeout(() => res.end('ok'), 20);
    const kept = transport();
    for (let round = 0; round < 3; round++) {
      await Promise.all([1, 2, 3].map(() => bodyOf(ask(kept, plain()))));
    }
    assert.equal(connections.size, 3);
  });

  it('lets requests wait when an origin has its connections, but not for long', async () => {
    const held: ServerResponse[] = [];
    answer = (_req, res) => void held.push(res);
    const arrived = async (count: number) => {
      while (held.length < count) await new Promise((done) => setTimeout(done, 5));
      return held[count - 1]!;
    };
    const one = new Http1(connector, 1, 1000);
    const pool: Transport = {
      send: (there, asked, handler) => one.send(there, asked, handler),
      close: () => one.close(),
    };
    const first = bodyOf(ask(pool, plain()));
    const second = bodyOf(ask(pool, plain()));
    const third = failure(ask(pool, plain()));
    (await arrived(1)).end('first');
    assert.equal(await first, 'first');
    const res = await arrived(2);
    assert.equal(toOriginError((await third).error, plain()).status, 522);
    res.end('second');
    assert.equal(await second, 'second');
    pool.close();
  });

  it('says that a request on a connection that the origin left may be repeated', async () => {
    answer = (_req, res) => res.end('ok');
    const kept = transport();
    assert.equal(await bodyOf(ask(kept, plain())), 'ok');
    answer = (req) => req.socket.destroy();
    assert.equal((await failure(ask(kept, plain()))).repeatable, true);
    assert.equal((await failure(ask(kept, plain()))).repeatable, false, 'a new connection');
  });

  it('looks the name up anew for a new connection, and refuses what is private by then', async () => {
    answer = (_req, res) => res.writeHead(200, { connection: 'close' }).end('public');
    const turns = [['127.0.0.1'], ['10.0.0.1'], ['169.254.169.254', '::1']];
    const rebinding = resolver({ 'plain.example': () => turns.shift()! });
    const kept = transport(createConnector(createAddresses(['127.0.0.1'], rebinding), () => false));
    assert.equal(await bodyOf(ask(kept, plain())), 'public');
    for (const _ of [1, 2]) {
      const { error } = await failure(ask(kept, plain()));
      assert.equal(toOriginError(error, plain()).code, 1002);
    }
    assert.equal(rebinding.calls, 3);
  });

  it('says for methods with a body that there is none', async () => {
    answer = (req, res) => res.end(String(req.headers['content-length']));
    const kept = transport();
    assert.equal(await bodyOf(ask(kept, plain(), { method: 'POST' })), '0');
    assert.equal(await bodyOf(ask(kept, plain(), { method: 'DELETE' })), 'undefined');
  });

  it('tells a body that was cut from one that is whole', async () => {
    answer = (_req, res) => {
      res.writeHead(200, { 'content-length': '10' });
      res.write('part', () => res.destroy());
    };
    const { body } = await ask(transport(), plain());
    await assert.rejects(read(body));
  });

  it('refuses a header that no header may be', async () => {
    const { error } = await failure(ask(transport(), plain(), { headers: ['x-a', 'a\nb'] }));
    assert.match(error.message, /Invalid character/);
  });
});

function servernameOf(socket: object): string | false {
  return (socket as { servername?: string | false }).servername ?? false;
}

describe('origins with TLS', () => {
  let server: Server | Http2SecureServer;
  let port: number;
  const servernames: (string | false)[] = [];
  before(async () => {
    ({ server, port } = await listening(
      createSecureServer({ cert, key, allowHTTP1: true }, (req, res) => {
        servernames.push(servernameOf(req.stream?.session?.socket ?? req.socket));
        res.end(`${req.httpVersion} ${req.headers.host ?? req.headers[':authority']}`);
      }),
    ));
  });
  after(() => {
    for (const each of transports) each.close();
    server.close();
  });

  it('are reached by their name, whose certificate is checked', async () => {
    const good = transport();
    assert.equal(await bodyOf(ask(good, to(`https://secure.example:${port}/`))), `2.0 secure.example:${port}`);
    assert.equal(servernames.at(-1), 'secure.example');
  });

  it('are refused as 526 when the certificate is not trusted or of another name', async () => {
    for (const [by, url] of [
      [strict, `https://secure.example:${port}/`],
      [connector, `https://other.example:${port}/`],
    ] as const) {
      const { error } = await failure(ask(transport(by), to(url)));
      assert.equal(toOriginError(error, to(url)).status, 526, String(error));
    }
  });

  it('are reached by upgrades with the same check', async () => {
    const good = connector.open(to(`https://secure.example:${port}/`), ['http/1.1']);
    await once(good, 'secureConnect');
    good.destroy();
    const url = `https://other.example:${port}/`;
    const [error] = await once(connector.open(to(url), ['http/1.1']), 'error').catch((e) => [e]);
    assert.equal(toOriginError(error, to(url)).status, 526);
  });

  it('are checked for the name of the URL when their address was set', async () => {
    const set = to(`https://secure.example:${port}/`, { host: '127.0.0.1' });
    assert.equal(await bodyOf(ask(transport(), set)), `2.0 secure.example:${port}`);
    const { error } = await failure(ask(transport(), { ...set, servername: 'other.example' }));
    assert.equal(toOriginError(error, set).status, 526);
  });

  it('that are this machine itself need no certificate that others trust', async () => {
    const local = to('https://w.sub.workers.localhost/', { local: true, host: '127.0.0.1', port });
    assert.equal(await bodyOf(ask(transport(strict), local)), '1.1 w.sub.workers.localhost');
    assert.equal(servernames.at(-1), 'w.sub.workers.localhost');
  });

  it('are asked once for their protocol, however many requests come at once', async () => {
    let connections = 0;
    const count = () => connections++;
    server.on('secureConnection', count);
    const kept = transport();
    await Promise.all(Array.from({ length: 20 }, () => bodyOf(ask(kept, to(`https://secure.example:${port}/`)))));
    server.off('secureConnection', count);
    assert.equal(connections, 1);
  });

  it('that end the handshake are no origins with TLS: 525', async () => {
    const broken = await listening(createHttpServer());
    broken.server.on('connection', (socket) => socket.end());
    const { error } = await failure(ask(transport(), to(`https://secure.example:${broken.port}/`)));
    broken.server.close();
    assert.equal(toOriginError(error, to('https://secure.example/')).status, 525, String(error));
  });
});

describe('HTTP/1.1 over TLS', () => {
  it('is used when the origin chooses it, on the connection that asked', async () => {
    let connections = 0;
    const { server, port } = await listening(createHttpsServer({ cert, key }, (req, res) => res.end(req.httpVersion)));
    server.on('secureConnection', () => connections++);
    const kept = transport();
    for (let i = 0; i < 3; i++) assert.equal(await bodyOf(ask(kept, to(`https://secure.example:${port}/`))), '1.1');
    assert.equal(connections, 1);
    kept.close();
    server.close();
  });
});
