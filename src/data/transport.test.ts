import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import {
  createSecureServer,
  type Http2SecureServer,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket, Server as TcpServer } from 'node:net';
import type { Readable } from 'node:stream';
import { after, before, beforeEach, describe, it } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { createAddresses } from './addresses.ts';
import { type Connector, createConnector } from './connector.ts';
import type { Destination } from './destination.ts';
import type { Outgoing } from './exchange.ts';
import { Http1 } from './http1.ts';
import { toOriginError } from './origin-errors.ts';
import { resolver, selfSigned, to } from './testing.ts';
import { createTransport, type Transport } from './transport.ts';

interface Answer {
  status: number;
  message: string;
  raw: string[];
  body: Readable;
  isWhole: () => boolean;
}

interface Asked {
  method?: string;
  path?: string;
  headers?: string[];
  /** Gets what the body is written to; without it there is none. */
  body?: (outgoing: Outgoing) => void;
}

/** The head of the answer; rejects with `{ error, repeatable }`. */
function ask(transport: Transport, destination: Destination, asked: Asked = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { method = 'GET', path = '/', headers = [], body } = asked;
    transport.send(
      destination,
      { method, path, headers, hasBody: body !== undefined },
      {
        onSending: (outgoing) => body?.(outgoing),
        onResponse(status, message, raw, body, isWhole) {
          // Whoever reads later has to say so: what nobody reads is thrown away when the stream closes.
          body.pause();
          resolve({ status, message, raw, body, isWhole });
        },
        onError: (error, repeatable) => reject({ error, repeatable }),
      },
      () => false,
    );
  });
}

/** The whole body; rejects if it broke off visibly. */
function read(body: Readable): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    body.on('data', (chunk: Buffer) => {
      text += chunk;
    });
    body.once('end', () => resolve(text));
    body.once('error', reject);
    body.once('close', () => reject(new Error('closed before its end')));
    body.resume();
  });
}

/** For tests that write the body later. */
function keeper() {
  let given: Outgoing | undefined;
  const keep = (outgoing: Outgoing) => {
    given = outgoing;
  };
  return { keep, kept: () => given! };
}

const failure = (asked: Promise<unknown>) =>
  asked.then(
    () => assert.fail('it was answered'),
    (failed: { error: Error; repeatable: boolean }) => failed,
  );
const bodyOf = async (asked: Promise<Answer>) => read((await asked).body);
const values = (raw: string[], name: string) => raw.filter((_, index) => index % 2 === 1 && raw[index - 1] === name);

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

async function listening<S extends TcpServer>(server: S): Promise<{ server: S; port: number }> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

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

/** One HTTP/2 frame (RFC 9113, 4.1). */
function frame(type: number, flags: number, stream: number, ...payload: number[]): Buffer {
  return Buffer.from([0, 0, payload.length, type, flags, 0, 0, 0, stream, ...payload]);
}

describe('HTTP/2 to origins', () => {
  let server: Http2SecureServer;
  let port: number;
  let answer: (stream: ServerHttp2Stream, headers: Record<string, any>) => void;
  const sessions: ServerHttp2Session[] = [];
  before(async () => {
    ({ server, port } = await listening(createSecureServer({ cert, key, settings: { maxConcurrentStreams: 10 } })));
    server.on('session', (session) => sessions.push(session));
    server.on('stream', (stream, headers) => {
      stream.on('error', () => undefined);
      answer(stream, headers);
    });
  });
  beforeEach(() => {
    sessions.length = 0;
  });
  after(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  const there = () => to(`https://secure.example:${port}/`);

  it('sends method, path, authority and headers, and no Host', async () => {
    let seen: Record<string, any> = {};
    answer = (stream, headers) => {
      seen = headers;
      stream.respond({ ':status': 200 });
      stream.end();
    };
    const headers = ['X-Thing', 'caf\xe9', 'Cookie', 'a=1', 'Content-Length', '2'];
    const body = ({ stream }: Outgoing) => void stream.end('ab');
    await bodyOf(ask(transport(), there(), { method: 'PUT', path: '/p?q', headers, body }));
    assert.deepEqual(
      [seen[':method'], seen[':path'], seen[':authority'], seen[':scheme'], seen.host],
      ['PUT', '/p?q', `secure.example:${port}`, 'https', undefined],
    );
    assert.deepEqual([seen['x-thing'], seen.cookie, seen['content-length']], ['caf\xe9', 'a=1', '2']);
  });

  it('gives status and headers as they are, repeated ones apart, and passes 1xx and trailers over', async () => {
    answer = (stream) => {
      stream.additionalHeaders({ ':status': 103, link: '</a>' });
      stream.respond({ ':status': 421, 'set-cookie': ['a=1', 'b=2'], 'x-name': 'caf\xe9' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '1' }));
      stream.end('body');
    };
    const { status, raw, body, isWhole } = await ask(transport(), there());
    assert.equal(status, 421, 'a connection serves one host: what the origin says of it is its answer');
    assert.deepEqual([values(raw, 'set-cookie'), values(raw, 'x-name')], [['a=1', 'b=2'], ['caf\xe9']]);
    assert.deepEqual(
      raw.filter((item) => item.startsWith(':')),
      [],
    );
    assert.equal(await read(body), 'body');
    assert.ok(isWhole());
  });

  it('sends the head before the first byte of the body, and streams both ways at once', async () => {
    answer = (stream) => {
      stream.respond({ ':status': 200 });
      stream.pipe(stream);
    };
    const { keep, kept: outgoing } = keeper();
    const { body } = await ask(transport(), there(), { method: 'POST', body: keep });
    outgoing().stream.write('first');
    const whole = read(body);
    assert.equal(String((await once(body, 'data'))[0]), 'first');
    outgoing().stream.end('second');
    assert.equal(await whole, 'firstsecond');
  });

  it('does not read ahead of who does not read', async () => {
    let sent = 0;
    answer = (stream) => {
      stream.respond({ ':status': 200 });
      const more = () => {
        while (sent < 100e6 && stream.write(Buffer.alloc(65_536))) sent += 65_536;
      };
      stream.on('drain', more);
      more();
    };
    const { body } = await ask(transport(), there());
    let last = -1;
    while (last !== sent) {
      last = sent;
      await new Promise((done) => setTimeout(done, 200));
    }
    assert.ok(sent < 20e6, `${sent} bytes were taken`);
    body.destroy();
  });

  it('shares a connection between requests, and opens another when the origin takes no more at once', async () => {
    const held: ServerHttp2Stream[] = [];
    answer = (stream) => {
      stream.respond({ ':status': 200 });
      held.push(stream);
    };
    const kept = transport();
    const first = await ask(kept, there());
    const more = await Promise.all(Array.from({ length: 14 }, () => ask(kept, there())));
    assert.equal(sessions.length, 2);
    for (const stream of held) stream.end('x');
    for (const { body } of [first, ...more]) assert.equal(await read(body), 'x');
  });

  it('finishes what is open when the origin ends the connection, and takes another for the next', async () => {
    const held: ServerHttp2Stream[] = [];
    answer = (stream) => {
      stream.respond({ ':status': 200 });
      held.push(stream);
    };
    const kept = transport();
    const open = await Promise.all([ask(kept, there()), ask(kept, there())]);
    const gone = new Promise((resolve) => sessions[0]!.once('close', resolve));
    sessions[0]!.goaway(0);
    await new Promise((done) => setTimeout(done, 50));
    const next = await ask(kept, there());
    assert.equal(sessions.length, 2);
    for (const stream of held) stream.end('whole');
    for (const { body, isWhole } of [...open, next]) {
      assert.equal(await read(body), 'whole');
      assert.ok(isWhole());
    }
    await gone;
  });

  it('survives that the origin breaks off with many requests open', async () => {
    answer = (stream) => void (stream.id === 9 && stream.session!.goaway(2));
    const kept = transport();
    const failed = await Promise.all(Array.from({ length: 5 }, () => failure(ask(kept, there()))));
    assert.equal(toOriginError(failed[0]!.error, there()).status, 520);
    answer = (stream) => {
      stream.respond({ ':status': 200 });
      stream.end('again');
    };
    assert.equal(await bodyOf(ask(kept, there())), 'again');
  });

  it('says that a request that the origin refused unseen may be repeated', async () => {
    answer = (stream) => stream.close(7);
    assert.equal((await failure(ask(transport(), there()))).repeatable, true);
    answer = (stream) => stream.close(2);
    assert.equal((await failure(ask(transport(), there()))).repeatable, false);
  });

  for (const code of [2, 8]) {
    it(`tells a body that was reset (code ${code}) from one that is whole`, async () => {
      const raw = await listening(
        createTlsServer({ cert, key, ALPNProtocols: ['h2'] }, (socket) => {
          socket.on('error', () => undefined);
          socket.write(frame(4, 0, 0));
          socket.once('data', () => {
            // Status 200 in HPACK, a part of a body without its end, and RST_STREAM.
            socket.write(Buffer.concat([frame(1, 4, 1, 0x88), frame(0, 0, 1, 0x70), frame(3, 0, 1, 0, 0, 0, code)]));
          });
        }),
      );
      const kept = transport();
      const { body, isWhole } = await ask(kept, to(`https://secure.example:${raw.port}/`));
      const ended = await read(body).catch(() => 'broken');
      assert.ok(ended === 'broken' || !isWhole(), `${ended} passed for whole`);
      kept.close();
      raw.server.close();
    });
  }

  it('tells the origin that the Worker went away', async () => {
    let code: Promise<number> | undefined;
    answer = (stream) => {
      stream.respond({ ':status': 200 });
      code = once(stream, 'close').then(() => stream.rstCode);
    };
    const { keep, kept: outgoing } = keeper();
    await ask(transport(), there(), { method: 'POST', body: keep });
    outgoing().cancel();
    assert.equal(await code, 8);
  });

  it('goes on when the origin left a kept connection', async () => {
    answer = (stream) => {
      stream.respond({ ':status': 200 });
      stream.end('ok');
    };
    const kept = transport();
    assert.equal(await bodyOf(ask(kept, there())), 'ok');
    sessions[0]!.destroy();
    await new Promise((done) => setTimeout(done, 50));
    assert.equal(await bodyOf(ask(kept, there())), 'ok');
    assert.equal(sessions.length, 2);
  });
});
