import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  createSecureServer,
  type Http2SecureServer,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import { after, before, beforeEach, describe, it } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { createAddresses } from './addresses.ts';
import { type Connector, createConnector } from './connector.ts';
import type { Outgoing } from './exchange.ts';
import { toOriginError } from './origin-errors.ts';
import { ask, bodyOf, failure, keeper, listening, read, resolver, selfSigned, to, values } from './testing.ts';
import { createTransport, type Transport } from './transport.ts';

let cert: string;
let key: string;
let connector: Connector;
const transports: Transport[] = [];
function transport(): Transport {
  const made = createTransport(connector);
  transports.push(made);
  return made;
}

before(async () => {
  ({ cert, key } = await selfSigned('secure.example'));
  const addresses = createAddresses(['127.0.0.1'], resolver({ 'secure.example': ['127.0.0.1'] }));
  connector = createConnector(addresses, () => false, cert);
});
after(() => {
  for (const each of transports) each.close();
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
