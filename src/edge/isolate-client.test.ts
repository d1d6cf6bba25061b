import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTcpServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { after, describe, it } from 'node:test';
import { type Body, IsolateClient, type UpstreamError } from './isolate-client.ts';

const directory = await mkdtemp(join(tmpdir(), 'selvedge-client-'));
const closers: (() => void)[] = [];
let sockets = 0;

after(async () => {
  for (const close of closers) close();
  await rm(directory, { recursive: true });
});

async function serve(listener: RequestListener) {
  const path = join(directory, `${sockets++}.sock`);
  const server = createServer(listener);
  let connections = 0;
  server.on('connection', () => connections++);
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const client = new IsolateClient(path);
  closers.push(() => {
    client.close();
    server.closeAllConnections();
    server.close();
  });
  return { client, path, connections: () => connections };
}

async function serveRaw(onSocket: (socket: Socket) => void) {
  const path = join(directory, `${sockets++}.sock`);
  const server = createTcpServer(onSocket);
  await new Promise<void>((resolve) => server.listen(path, resolve));
  closers.push(() => server.close());
  return new IsolateClient(path);
}

function bodyOf(stream: Readable, length: number | null): Body {
  return { stream, length, maxBytes: 1_000_000, counter: { bytesIn: 0 } };
}

interface Answer {
  status: number;
  headers: string[];
  body: string;
}

function send(client: IsolateClient, method: string, path: string, body: Body | null = null): Promise<Answer> {
  const framing = body
    ? body.length === null
      ? 'Transfer-Encoding: chunked\r\n'
      : `Content-Length: ${body.length}\r\n`
    : '';
  return new Promise((resolve, reject) => {
    const answer: Answer = { status: 0, headers: [], body: '' };
    client.send(method, `${method} ${path} HTTP/1.1\r\nHost: a.test\r\n${framing}\r\n`, body, {
      onHead: (status, _text, headers) => Object.assign(answer, { status, headers }),
      onData: (chunk) => {
        answer.body += chunk.toString();
        return true;
      },
      onEnd: () => resolve(answer),
      onError: reject,
    });
  });
}

/** Lets the event loop turn: a connection is given back in the same turn as the answer's end. */
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('the client of an isolate process', () => {
  it('asks and gets an answer over one connection, again and again', async () => {
    const { client, connections } = await serve((request, response) =>
      response.end(`${request.method} ${request.url}`),
    );
    for (let i = 0; i < 5; i++) {
      const answer = await send(client, 'GET', `/${i}`);
      assert.deepEqual([answer.status, answer.body], [200, `GET /${i}`]);
      await turn();
    }
    assert.equal(connections(), 1);
  });

  it('asks many at a time', async () => {
    const { client } = await serve((request, response) => setTimeout(() => response.end(request.url), 5));
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => send(client, 'GET', `/${i}`)));
    answers.forEach((answer, i) => {
      assert.equal(answer.body, `/${i}`);
    });
  });

  for (const length of [200_000, null]) {
    it(`sends a body ${length === null ? 'in chunks' : 'of known length'}`, async () => {
      const { client } = await serve((request, response) => request.pipe(response));
      const text = 'x'.repeat(200_000);
      const answer = await send(client, 'POST', '/', bodyOf(Readable.from([Buffer.from(text)]), length));
      assert.equal(answer.body, text);
    });
  }

  for (const [what, length] of [
    ['longer', 3],
    ['shorter', 9],
  ] as const) {
    it(`gives up a body that is ${what} than announced`, async () => {
      const { client } = await serve((request, response) => request.on('end', () => response.end()).resume());
      const body = bodyOf(Readable.from([Buffer.from('hello')]), length);
      await assert.rejects(send(client, 'POST', '/', body), (error: UpstreamError) => error.kind === 'eyeball');
    });
  }

  it('does not use a connection again whose request body was not read', async () => {
    const { client, connections } = await serve((_request, response) => response.end('no'));
    const stream = new PassThrough();
    stream.write('begin');
    assert.equal((await send(client, 'POST', '/', bodyOf(stream, null))).body, 'no');
    stream.end();
    assert.equal((await send(client, 'GET', '/')).body, 'no');
    assert.equal(connections(), 2);
  });

  it('stops reading while the receiver is full', async () => {
    let written = 0;
    const chunk = Buffer.alloc(64 * 1024);
    const { client } = await serve((_request, response) => {
      const more = () => {
        while (written < 64 * 1024 * 1024) {
          written += chunk.length;
          if (!response.write(chunk)) return void response.once('drain', more);
        }
        response.end();
      };
      more();
    });
    let received = 0;
    let total = 0;
    await new Promise<void>((resolve, reject) => {
      const exchange = client.send('GET', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n', null, {
        onHead() {},
        onData(data) {
          received += data.length;
          return total > 0;
        },
        onEnd: resolve,
        onError: reject,
      });
      setTimeout(() => {
        total = written;
        exchange.resume();
      }, 200);
    });
    assert.ok(total < 16 * 1024 * 1024, `${total} bytes were written to a receiver that had stopped`);
    assert.equal(received, 64 * 1024 * 1024);
  });

  it('tells the process when the eyeball has gone', async () => {
    const gone = Promise.withResolvers<void>();
    const { client } = await serve((_request, response) => {
      response.write('begin');
      response.on('close', () => gone.resolve());
    });
    const begun = Promise.withResolvers<void>();
    const exchange = client.send('GET', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n', null, {
      onHead: () => begun.resolve(),
      onData: () => true,
      onEnd: () => assert.fail('the answer never ends'),
      onError: () => assert.fail('an aborted request has no callback'),
    });
    await begun.promise;
    exchange.abort();
    await gone.promise;
  });

  it('says when there is no process', async () => {
    const client = new IsolateClient(join(directory, 'absent.sock'));
    await assert.rejects(send(client, 'GET', '/'), (error: UpstreamError) => error.kind === 'connect' && !error.reused);
  });

  it('says when the process is lost with the request', async () => {
    const client = await serveRaw((socket) => socket.once('data', () => socket.destroy()));
    await assert.rejects(send(client, 'GET', '/'), (error: UpstreamError) => error.kind === 'lost' && !error.reused);
  });

  it('says when a connection that had served before is lost', async () => {
    const client = await serveRaw((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
        socket.once('data', () => socket.destroy());
      });
    });
    await send(client, 'GET', '/');
    await turn();
    await assert.rejects(send(client, 'GET', '/'), (error: UpstreamError) => error.kind === 'lost' && error.reused);
  });

  it('says when the answer is no HTTP', async () => {
    const client = await serveRaw((socket) => socket.once('data', () => socket.end('what?\r\n\r\n')));
    await assert.rejects(send(client, 'GET', '/'), (error: UpstreamError) => error.kind === 'bad');
  });
});
