import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { WebSocket, WebSocketServer } from 'ws';
import { createAddresses, type Resolve } from './addresses.ts';
import { type Budget, createBudget } from './budget.ts';
import { createEgress } from './egress.ts';
import { createOrigin, type Origin } from './origin.ts';
import { type OpenSocket, openSocket } from './sockets.ts';

interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  rawHeaders: string[];
  body: Buffer;
}

/** An egress with its socket, as one isolate process has it. */
interface Exit {
  path: string;
  refusals: string[];
  close(): Promise<void>;
}

let dir: string;
let origin: Server;
let port: number;
const seen: { method: string; url: string; raw: string[] }[] = [];
const closers: (() => Promise<unknown> | unknown)[] = [];

/** Names of the tests: what they resolve to. */
const NAMES: Record<string, string[]> = {
  'origin.example': ['127.0.0.1'],
  'private.example': ['10.9.9.9', '192.168.1.1'],
  'metadata.example': ['169.254.169.254'],
};
const resolve: Resolve = (hostname, _options, callback) => {
  const found = NAMES[hostname]?.map((address) => ({ address, family: 4 }));
  if (found) callback(null, found);
  else callback(Object.assign(new Error(`no ${hostname}`), { code: 'ENOTFOUND' }), []);
};

let count = 0;
async function exit(options: { allow?: string[]; budget?: Budget; served?: string } = {}): Promise<Exit> {
  const path = join(dir, `egress-${count++}.sock`);
  const edge = {
    address: '127.0.0.1',
    httpPort: port,
    httpsPort: 1,
    isServedHere: (name: string) => name === options.served,
  };
  const way: Origin = createOrigin(createAddresses(options.allow ?? ['127.0.0.0/8'], resolve), edge);
  const refusals: string[] = [];
  const server = createEgress({
    origin: way,
    budget: options.budget ?? createBudget(1000),
    cfWorker: () => 'zone.example',
    onRefused: (reason) => refusals.push(reason),
  });
  const socket: OpenSocket = await openSocket(server, path, 100);
  const close = async () => {
    await socket.close();
    await way.close();
  };
  closers.push(close);
  return { path, refusals, close };
}

/** As workerd asks: the absolute URL in the request line. */
function ask(
  socketPath: string,
  url: string,
  init: { method?: string; headers?: Record<string, string>; body?: Buffer } = {},
) {
  return new Promise<Answer>((done, fail) => {
    const req = request({ socketPath, path: url, method: init.method ?? 'GET', headers: init.headers, agent: false });
    req.on('error', fail);
    req.on('response', async (res) => {
      const chunks: Buffer[] = [];
      try {
        for await (const chunk of res) chunks.push(chunk);
        done({
          status: res.statusCode ?? 0,
          headers: res.headers,
          rawHeaders: res.rawHeaders,
          body: Buffer.concat(chunks),
        });
      } catch (error) {
        fail(error);
      }
    });
    req.end(init.body);
  });
}

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'selvedge-egress-'));
  origin = createServer((req, res) => {
    seen.push({ method: req.method ?? '', url: req.url ?? '', raw: req.rawHeaders });
    if (req.url === '/gzip') {
      res.setHeader('content-encoding', 'gzip');
      res.end(gzipSync('squeezed'));
    } else if (req.url === '/cookies')
      res
        .writeHead(
          200,
          [
            ['set-cookie', 'a=1'],
            ['set-cookie', 'b=2'],
          ].flat(),
        )
        .end('ok');
    else if (req.url === '/echo') req.pipe(res);
    else if (req.url === '/redirect') res.writeHead(302, { location: 'http://private.example/' }).end();
    else if (req.url === '/reset') req.socket.destroy();
    else if (req.url === '/cut') {
      res.writeHead(200, { 'content-length': '100' });
      res.write('part', () => req.socket.destroy());
    } else if (req.url === '/nothing') res.writeHead(204).end();
    else if (req.url === '/latin') res.writeHead(200, { 'x-name': 'caf\xe9' }).end();
    else res.end(`hello from ${req.headers.host}`);
  });
  const sockets = new WebSocketServer({ noServer: true });
  origin.on('upgrade', (req, socket, head) => {
    if (req.url === '/no-websocket') {
      socket.end('HTTP/1.1 403 Forbidden\r\nX-Why: closed\r\nContent-Length: 4\r\n\r\nshut');
      return;
    }
    sockets.handleUpgrade(req, socket, head, (ws) => ws.on('message', (data) => ws.send(`echo ${data}`)));
  });
  origin.listen(0, '127.0.0.1');
  await once(origin, 'listening');
  port = (origin.address() as AddressInfo).port;
});

after(async () => {
  for (const close of closers) await close();
  origin.closeAllConnections();
  origin.close();
  await rm(dir, { recursive: true });
});

describe('egress to an origin', () => {
  it('takes the authority from the URL, not from a Host header', async () => {
    const { path } = await exit();
    const answer = await ask(path, `http://origin.example:${port}/`, { headers: { host: 'forged.example' } });
    assert.equal(answer.body.toString(), `hello from origin.example:${port}`);
  });
  it('names the Worker and counts the hop, and adds nothing else', async () => {
    const { path } = await exit();
    await ask(path, `http://origin.example:${port}/a?b=c`, { headers: { 'cf-connecting-ip': '1.1.1.1', accept: 'x' } });
    const { method, url, raw } = seen.at(-1)!;
    assert.deepEqual([method, url], ['GET', '/a?b=c']);
    assert.deepEqual(
      raw.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase()),
      ['host', 'connection', 'accept', 'cf-worker', 'cdn-loop'],
    );
    assert.ok(raw.includes('zone.example') && raw.includes('selvedge; loops=1'));
  });
  it('passes bodies on undecoded, without the headers of the connection', async () => {
    const { path } = await exit();
    const answer = await ask(path, `http://origin.example:${port}/gzip`);
    assert.deepEqual(answer.body, gzipSync('squeezed'));
    assert.equal(answer.headers['content-encoding'], 'gzip');
    assert.equal(answer.headers.connection, undefined);
    assert.equal(answer.headers['keep-alive'], undefined);
  });
  it('keeps repeated headers apart, and bytes above ASCII as they are', async () => {
    const { path } = await exit();
    assert.deepEqual((await ask(path, `http://origin.example:${port}/cookies`)).headers['set-cookie'], ['a=1', 'b=2']);
    assert.equal((await ask(path, `http://origin.example:${port}/latin`)).headers['x-name'], 'caf\xe9');
  });
  it('sends bodies with and without a length, and answers without a body', async () => {
    const { path } = await exit();
    const body = Buffer.alloc(300_000, 'b');
    for (const headers of [{ 'content-length': '300000' }, { 'transfer-encoding': 'chunked' }] as Record<
      string,
      string
    >[]) {
      const answer = await ask(path, `http://origin.example:${port}/echo`, { method: 'POST', headers, body });
      assert.ok(answer.body.equals(body));
    }
    assert.equal((await ask(path, `http://origin.example:${port}/nothing`, { method: 'DELETE' })).status, 204);
    assert.equal((await ask(path, `http://origin.example:${port}/`, { method: 'HEAD' })).body.length, 0);
  });
  it('streams both ways at once', async () => {
    const { path } = await exit();
    const headers = { 'transfer-encoding': 'chunked' };
    const req = request({ socketPath: path, path: `http://origin.example:${port}/echo`, method: 'POST', headers });
    req.write('first');
    const [res] = (await once(req, 'response')) as [IncomingMessage];
    const [first] = await once(res, 'data');
    assert.equal(String(first), 'first');
    const ended = once(res, 'end');
    const second = once(res, 'data');
    req.end('second');
    assert.equal(String((await second)[0]), 'second');
    await ended;
  });
  it('does not read ahead of a Worker that does not read', async () => {
    const { path } = await exit();
    let sent = 0;
    const source = createServer((_req, res) => {
      const more = () => {
        while (sent < 200e6 && res.write(Buffer.alloc(65536))) sent += 65536;
      };
      res.on('drain', more);
      res.on('error', () => {});
      more();
    }).listen(0, '127.0.0.1');
    await once(source, 'listening');
    const url = `http://origin.example:${(source.address() as AddressInfo).port}/`;
    const req = request({ socketPath: path, path: url });
    req.on('error', () => {});
    req.end();
    const [res] = (await once(req, 'response')) as [IncomingMessage];
    let last = -1;
    while (last !== sent) {
      last = sent;
      await new Promise((done) => setTimeout(done, 200));
    }
    assert.ok(sent < 50e6, `${sent} bytes were taken`);
    res.destroy();
    source.closeAllConnections();
    source.close();
    await once(source, 'close');
  });
  it('opens WebSockets', async () => {
    const { path } = await exit();
    const ws = new WebSocket('ws://unused/', {
      createConnection: () => connect(path),
      finishRequest: (req) => {
        req.path = `http://origin.example:${port}/ws`;
        req.end();
      },
    });
    await once(ws, 'open');
    ws.send('ping');
    const [data] = await once(ws, 'message');
    assert.equal(String(data), 'echo ping');
    ws.close();
    await once(ws, 'close');
  });
  it('answers what the origin said instead of opening a WebSocket', async () => {
    const { path } = await exit();
    const headers = { connection: 'Upgrade', upgrade: 'websocket' };
    const answer = await ask(path, `http://origin.example:${port}/no-websocket`, { headers });
    assert.deepEqual([answer.status, answer.headers['x-why'], String(answer.body)], [403, 'closed', 'shut']);
  });
});

describe('connect()', () => {
  const tunnel = async (path: string, target: string): Promise<[string, Socket]> => {
    const socket = connect(path);
    socket.write(`CONNECT ${target} HTTP/1.1\r\n\r\n`);
    const [head] = await once(socket, 'data');
    return [String(head).split('\r\n')[0]!, socket];
  };

  it('opens TCP to an allowed address and passes on both ends', async () => {
    const { path } = await exit();
    const echo = createTcpServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
    await once(echo, 'listening');
    const [status, socket] = await tunnel(path, `origin.example:${(echo.address() as AddressInfo).port}`);
    assert.equal(status, 'HTTP/1.1 200 OK');
    const back: Buffer[] = [];
    socket.on('data', (chunk) => back.push(chunk));
    socket.end('there and back');
    await once(socket, 'close');
    assert.equal(Buffer.concat(back).toString(), 'there and back');
    echo.close();
  });
  it('refuses port 25, private addresses and names of private addresses', async () => {
    const { path } = await exit();
    for (const target of [
      'origin.example:25',
      '10.0.0.1:80',
      '[::1]:80',
      'private.example:80',
      'metadata.example:80',
    ]) {
      const [status, socket] = await tunnel(path, target);
      assert.match(status, /^HTTP\/1\.1 403 /, target);
      socket.destroy();
    }
  });
  it('says why there is no connection', async () => {
    const { path } = await exit();
    const [status, socket] = await tunnel(path, 'unknown.example:80');
    assert.equal(status, 'HTTP/1.1 530 the host name of the origin does not resolve');
    socket.destroy();
  });
});

describe('refusals', () => {
  const text = async (path: string, url: string) => {
    const { status, body } = await ask(path, url);
    return `${status} ${String(body).split('\n')[0]}`;
  };

  it('answers 403 for private addresses in every notation that a URL has', async () => {
    const { path } = await exit({ allow: [] });
    const hosts = ['127.0.0.1', '127.1', '2130706433', '0x7f.0.0.1', '0', '10.0.0.1', '169.254.169.254'];
    hosts.push('[::1]', '[::ffff:127.0.0.1]', '[64:ff9b::7f00:1]', '[fd00:ec2::254]', '[::]');
    for (const host of hosts) assert.equal(await text(path, `http://${host}:${port}/`), '403 error code: 1003', host);
    assert.equal(await text(path, `https://127.0.0.1:${port}/`), '403 error code: 1003');
  });
  it('answers 403 for names that resolve to private addresses, also as the hop of a redirect', async () => {
    const { path } = await exit();
    assert.equal(await text(path, 'http://private.example/'), '403 error code: 1002');
    assert.equal(await text(path, 'https://metadata.example/latest'), '403 error code: 1002');
    const { headers } = await ask(path, `http://origin.example:${port}/redirect`);
    assert.equal(await text(path, headers.location!), '403 error code: 1002');
  });
  it('refuses WebSockets to private addresses', async () => {
    const { path } = await exit({ allow: [] });
    const headers = { connection: 'Upgrade', upgrade: 'websocket' };
    assert.equal((await ask(path, `http://127.0.0.1:${port}/ws`, { headers })).status, 403);
    assert.equal((await ask(path, `http://origin.example:${port}/ws`, { headers })).status, 403);
  });
  it('reaches a host that is served here through the local edge, on the ports of clients only', async () => {
    const { path } = await exit({ allow: [], served: 'w.sub.workers.localhost' });
    assert.equal(await text(path, 'http://w.sub.workers.localhost/'), '200 hello from w.sub.workers.localhost');
    assert.equal(
      await text(path, `http://w.sub.workers.localhost:${port}/`),
      `200 hello from w.sub.workers.localhost:${port}`,
    );
    assert.equal(await text(path, 'http://w.sub.workers.localhost:4400/'), '530 error code: 1016');
    assert.equal(await text(path, 'http://other.sub.workers.localhost/'), '530 error code: 1016');
  });
  it('names what is wrong with an origin as Cloudflare does', async () => {
    const { path } = await exit();
    assert.equal(await text(path, 'http://unknown.example/'), '530 error code: 1016');
    assert.equal(await text(path, 'http://127.0.0.1:1/'), '521 error code: 521');
    assert.equal(await text(path, `http://origin.example:${port}/reset`), '520 error code: 520');
    assert.equal(await text(path, `https://origin.example:${port}/`), '525 error code: 525');
  });
  it('cuts the connection when the origin cuts a body', async () => {
    const { path } = await exit();
    await assert.rejects(ask(path, `http://origin.example:${port}/cut`));
  });
  it('stops a loop of Workers', async () => {
    const { path } = await exit();
    const once = await ask(path, `http://origin.example:${port}/`, { headers: { 'cdn-loop': 'selvedge; loops=15' } });
    assert.equal(once.status, 200);
    const { status, body } = await ask(path, `http://origin.example:${port}/`, {
      headers: { 'cdn-loop': 'selvedge; loops=16' },
    });
    assert.deepEqual([status, String(body).split('\n')[0]], [508, 'error code: 1019']);
  });
  it('ends the connection above the subrequest budget, and says why', async () => {
    const { path, refusals } = await exit({ budget: createBudget(2) });
    const url = `http://origin.example:${port}/`;
    assert.equal((await ask(path, url)).status, 200);
    assert.equal((await ask(path, url)).status, 200);
    await assert.rejects(ask(path, url), /socket hang up/);
    assert.deepEqual(refusals, ['Too many subrequests.']);
  });
  it('ends the connection for what is no http URL', async () => {
    const { path } = await exit();
    for (const url of ['/relative', 'ftp://origin.example/', 'file:///etc/passwd', 'http://']) {
      await assert.rejects(ask(path, url), url);
    }
  });
});
