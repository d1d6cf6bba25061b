import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, request } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { after, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { WebSocket } from 'ws';
import { ask, openBench } from './egress-testing.ts';
import { to } from './testing.ts';

const bench = await openBench();
const { exit, port, edgePort, seen } = bench;
after(() => bench.close());

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
