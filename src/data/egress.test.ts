import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import { createSecureServer } from 'node:http2';
import {
  type AddressInfo,
  connect,
  createServer as createTcpServer,
  type Socket,
  type Server as TcpServer,
} from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { WebSocket, WebSocketServer } from 'ws';
import { createAddresses } from './addresses.ts';
import { type Budget, createBudget } from './budget.ts';
import { createConnector } from './connector.ts';
import type { Destination } from './destination.ts';
import { createEgress } from './egress.ts';
import { createMeters, type Meter } from './egress-meter.ts';
import { createIsSelf } from './self.ts';
import { type OpenSocket, openSocket } from './sockets.ts';
import { resolver, selfSigned, to } from './testing.ts';
import { createTransport } from './transport.ts';

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
  meter: Meter;
  close(): Promise<void>;
}

let dir: string;
let origin: Server;
let edge: TcpServer;
let port: number;
/** A port at which this machine's own edge would listen. */
let edgePort: number;
const seen: { method: string; url: string; raw: string[] }[] = [];
const closers: (() => Promise<unknown> | unknown)[] = [];

const names = resolver({
  'origin.example': ['127.0.0.1'],
  'secure.example': ['127.0.0.1'],
  'private.example': ['10.9.9.9', '192.168.1.1'],
  'metadata.example': ['169.254.169.254'],
});

interface ExitOptions {
  allow?: string[];
  budget?: Budget;
  /** Hosts of this machine: they lead to the origin of the tests, as to the local edge. */
  served?: string;
  enterSelf?: () => (() => void) | null;
  /** What `resolveOverride` leads to. */
  override?: (url: URL, host: string) => Destination;
  headersTimeoutMs?: number;
  ca?: string;
}

let count = 0;
async function exit(options: ExitOptions = {}): Promise<Exit> {
  const path = join(dir, `egress-${count++}.sock`);
  const addresses = createAddresses(options.allow ?? ['127.0.0.0/8'], names);
  const connector = createConnector(addresses, createIsSelf([edgePort]), options.ca);
  const transport = createTransport(connector);
  const refusals: string[] = [];
  const meters = createMeters();
  const meter = meters.of('a1', 'w');
  const server = createEgress({
    connector,
    transport,
    budget: options.budget ?? createBudget(1000),
    meter,
    destination: (url, host) =>
      host && options.override
        ? options.override(url, host)
        : url.hostname === options.served
          ? to(url.href, { local: true, host: '127.0.0.1', port })
          : to(url.href, { servername: /^[\d.]+$|:/.test(url.hostname) ? '' : url.hostname }),
    enterSelf: options.enterSelf ?? (() => () => undefined),
    cfWorker: () => 'zone.example',
    headersTimeoutMs: options.headersTimeoutMs,
    onRefused: (reason) => refusals.push(reason),
  });
  const socket: OpenSocket = await openSocket(server, path, 100);
  const close = async () => {
    await socket.close();
    transport.close();
  };
  closers.push(close);
  return { path, refusals, meter, close };
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
    else if (req.url === '/slow') setTimeout(() => res.end('slow'), 300);
    else if (req.url === '/silent') return;
    else if (req.url === '/forms') res.end(JSON.stringify(req.headers));
    else if (req.url === '/early') res.end('enough');
    else if (req.url === '/del') {
      // A byte that this side of HTTP lets through and no header may have.
      req.socket.end('HTTP/1.1 200 OK\r\nX-Bad: a\x7fb\r\nContent-Length: 0\r\n\r\n', 'latin1');
    } else if (req.url === '/redirect') res.writeHead(302, { location: 'http://private.example/' }).end();
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
  edge = createTcpServer((socket) => socket.end()).listen(0, '127.0.0.1');
  await once(edge, 'listening');
  edgePort = (edge.address() as AddressInfo).port;
});

after(async () => {
  for (const close of closers) await close();
  origin.closeAllConnections();
  origin.close();
  edge.close();
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
      ['host', 'accept', 'cf-worker', 'cdn-loop', 'connection'],
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
  it('sends the head of a request before its body', async () => {
    const { path } = await exit();
    const headers = { 'transfer-encoding': 'chunked' };
    const before = seen.length;
    const req = request({ socketPath: path, path: `http://origin.example:${port}/echo`, method: 'POST', headers });
    req.on('error', () => undefined);
    req.flushHeaders();
    while (seen.length === before) await new Promise((done) => setTimeout(done, 5));
    assert.equal(seen.at(-1)?.url, '/echo');
    req.destroy();
  });
  it('gives the answer of an origin that does not wait for the body', async () => {
    const { path } = await exit();
    const headers = { 'transfer-encoding': 'chunked' };
    const req = request({ socketPath: path, path: `http://origin.example:${port}/early`, method: 'POST', headers });
    req.on('error', () => undefined);
    req.write('begin');
    const [res] = (await once(req, 'response')) as [IncomingMessage];
    assert.equal(await text(res), 'enough');
    req.destroy();
    assert.equal((await ask(path, `http://origin.example:${port}/`)).status, 200);
  });
  it('takes accept-encoding as the Worker says it', async () => {
    const { path } = await exit();
    const url = `http://origin.example:${port}/forms`;
    const asked = async (headers: Record<string, string>) =>
      JSON.parse(String((await ask(path, url, { headers })).body))['accept-encoding'];
    assert.equal(await asked({}), undefined);
    assert.equal(await asked({ 'accept-encoding': 'br, gzip' }), 'br, gzip');
  });
  it('takes the origin of resolveOverride, keeps Host, and lets the cf object go nowhere', async () => {
    const asked: string[] = [];
    const override = (url: URL, host: string) => {
      asked.push(host);
      return to(url.href, { host: 'origin.example', port });
    };
    const { path } = await exit({ override });
    const cf = (value: unknown) => ({ headers: { 'selvedge-cf': JSON.stringify(value) } });
    const { body } = await ask(path, 'http://shop.example/forms', cf({ cacheTtl: 5, resolveOverride: 'b.example' }));
    const headers = JSON.parse(String(body));
    assert.equal(headers.host, 'shop.example');
    assert.doesNotMatch(String(body), /b\.example|cacheTtl|selvedge-cf/);
    for (const value of [{ resolveOverride: 7 }, { resolveOverride: '' }, { cacheKey: '"resolveOverride"' }, null]) {
      assert.equal((await ask(path, `http://origin.example:${port}/`, cf(value))).status, 200);
    }
    const broken = { headers: { 'selvedge-cf': '{"resolveOverride"' } };
    assert.equal((await ask(path, `http://origin.example:${port}/`, broken)).status, 200);
    assert.deepEqual(asked, ['b.example']);
  });
  it('counts heads and bodies of both ways', async () => {
    const { path, meter } = await exit();
    const body = Buffer.alloc(50_000, 'b');
    const headers = { 'content-length': '50000' };
    await ask(path, `http://origin.example:${port}/echo`, { method: 'POST', headers, body });
    assert.equal(meter.subrequests, 1);
    for (const bytes of [meter.bytesOut, meter.bytesIn]) assert.ok(bytes > 50_000 && bytes < 51_000, String(bytes));
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
    const { path, meter } = await exit();
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
    assert.deepEqual([meter.subrequests, meter.refused], [5, 5]);
  });
  it("refuses this machine's own edge, by address and by name, also where loopback is allowed", async () => {
    const { path } = await exit();
    for (const host of ['127.0.0.1', 'origin.example', '127.9.9.9', '[::ffff:127.0.0.1]']) {
      const [status, socket] = await tunnel(path, `${host}:${edgePort}`);
      assert.match(status, /^HTTP\/1\.1 403 .*this edge itself/, host);
      socket.destroy();
    }
  });
  it('counts the bytes of both ways', async () => {
    const { path, meter } = await exit();
    const echo = createTcpServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
    await once(echo, 'listening');
    const [, socket] = await tunnel(path, `127.0.0.1:${(echo.address() as AddressInfo).port}`);
    socket.resume().end(Buffer.alloc(100_000));
    await once(socket, 'close');
    assert.deepEqual([meter.bytesOut, meter.bytesIn], [100_000, 100_000]);
    echo.close();
  });
  it('says why there is no connection', async () => {
    const { path } = await exit();
    const [status, socket] = await tunnel(path, 'unknown.example:80');
    assert.equal(status, 'HTTP/1.1 530 the host name of the origin does not resolve');
    socket.destroy();
  });
});

describe('refusals', () => {
  const outcome = async (path: string, url: string) => {
    const { status, body } = await ask(path, url);
    return `${status} ${String(body).split('\n')[0]}`;
  };

  it('answers 403 for private addresses in every notation that a URL has', async () => {
    const { path } = await exit({ allow: [] });
    const hosts = ['127.0.0.1', '127.1', '2130706433', '0x7f.0.0.1', '0', '10.0.0.1', '169.254.169.254'];
    hosts.push('[::1]', '[::ffff:127.0.0.1]', '[64:ff9b::7f00:1]', '[fd00:ec2::254]', '[::]');
    for (const host of hosts)
      assert.equal(await outcome(path, `http://${host}:${port}/`), '403 error code: 1003', host);
    assert.equal(await outcome(path, `https://127.0.0.1:${port}/`), '403 error code: 1003');
  });
  it('answers 403 for names that resolve to private addresses, also as the hop of a redirect', async () => {
    const { path } = await exit();
    assert.equal(await outcome(path, 'http://private.example/'), '403 error code: 1002');
    assert.equal(await outcome(path, 'https://metadata.example/latest'), '403 error code: 1002');
    const { headers } = await ask(path, `http://origin.example:${port}/redirect`);
    assert.equal(await outcome(path, headers.location!), '403 error code: 1002');
  });
  it('refuses WebSockets to private addresses', async () => {
    const { path } = await exit({ allow: [] });
    const headers = { connection: 'Upgrade', upgrade: 'websocket' };
    assert.equal((await ask(path, `http://127.0.0.1:${port}/ws`, { headers })).status, 403);
    assert.equal((await ask(path, `http://origin.example:${port}/ws`, { headers })).status, 403);
  });
  it('reaches a host that is served here through the local edge, whose address needs no permission', async () => {
    const { path, meter } = await exit({ allow: [], served: 'w.sub.workers.localhost' });
    assert.equal(await outcome(path, 'http://w.sub.workers.localhost/'), '200 hello from w.sub.workers.localhost');
    assert.equal(await outcome(path, 'http://other.sub.workers.localhost/'), '530 error code: 1016');
    assert.deepEqual([meter.subrequests, meter.bytesOut, meter.bytesIn], [2, 0, 0], 'what stays here is not counted');
  });
  it('ends a loop that no header tells: too many subrequests to this machine itself at once', async () => {
    let open = 0;
    const enterSelf = () => {
      if (open === 2) return null;
      open++;
      return () => open--;
    };
    const { path, meter } = await exit({ served: 'w.sub.workers.localhost', enterSelf });
    const slow = [1, 2].map(() => ask(path, 'http://w.sub.workers.localhost/slow'));
    while (open < 2) await new Promise((done) => setTimeout(done, 5));
    assert.equal(await outcome(path, 'http://w.sub.workers.localhost/'), '508 error code: 1019');
    const headers = { connection: 'Upgrade', upgrade: 'websocket' };
    assert.equal((await ask(path, 'http://w.sub.workers.localhost/ws', { headers })).status, 508);
    assert.equal(await outcome(path, `http://origin.example:${port}/`), `200 hello from origin.example:${port}`);
    await Promise.all(slow);
    assert.equal(await outcome(path, 'http://w.sub.workers.localhost/'), '200 hello from w.sub.workers.localhost');
    assert.equal(meter.refused, 2);
  });
  it('names what is wrong with an origin as Cloudflare does', async () => {
    const { path } = await exit();
    assert.equal(await outcome(path, 'http://unknown.example/'), '530 error code: 1016');
    assert.equal(await outcome(path, 'http://127.0.0.1:1/'), '521 error code: 521');
    assert.equal(await outcome(path, `http://origin.example:${port}/reset`), '520 error code: 520');
    assert.equal(await outcome(path, `http://origin.example:${port}/del`), '520 error code: 520');
    assert.equal(await outcome(path, `https://origin.example:${port}/`), '525 error code: 525');
  });
  it('says 524 when the origin does not begin its answer in time, over HTTP/1.1 and HTTP/2', async () => {
    const { cert, key } = await selfSigned('secure.example');
    const silent = createSecureServer({ cert, key }, () => undefined).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { path } = await exit({ headersTimeoutMs: 50, ca: cert });
    assert.equal(await outcome(path, `http://origin.example:${port}/silent`), '524 error code: 524');
    const url = `https://secure.example:${(silent.address() as AddressInfo).port}/`;
    assert.equal(await outcome(path, url), '524 error code: 524');
    silent.close();
  });
  it('cuts the connection when the origin cuts a body, over HTTP/1.1 and HTTP/2', async () => {
    const { cert, key } = await selfSigned('secure.example');
    const cut = createSecureServer({ cert, key }).listen(0, '127.0.0.1');
    await once(cut, 'listening');
    cut.on('stream', (stream) => {
      stream.on('error', () => undefined);
      stream.respond({ ':status': 200, 'content-length': '100' });
      stream.write('part', () => stream.close(0));
    });
    const { path } = await exit({ ca: cert });
    await assert.rejects(ask(path, `http://origin.example:${port}/cut`));
    await assert.rejects(ask(path, `https://secure.example:${(cut.address() as AddressInfo).port}/`));
    cut.close();
  });
  it('refuses the names that a Worker looks up a second time and that have become private', async () => {
    const { path } = await exit();
    assert.equal(await outcome(path, `http://origin.example:${port}/`), `200 hello from origin.example:${port}`);
    origin.closeAllConnections();
    names.become('origin.example', ['10.0.0.1']);
    try {
      assert.equal(await outcome(path, `http://origin.example:${port}/`), '403 error code: 1002');
    } finally {
      names.become('origin.example', ['127.0.0.1']);
    }
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
