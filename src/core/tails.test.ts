import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import type { IncomingMessage, Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { serve } from '@hono/node-server';
import { WebSocket } from 'ws';
import { keys } from '../model/keys.ts';
import type { TailEvent } from '../model/messages.ts';
import type { Bus } from '../state/bus.ts';
import type { Ledger } from '../state/ledger.ts';
import { createHub } from '../state/local-bus.ts';
import { openSqliteLedger } from '../state/sqlite-ledger.ts';
import { createApp } from './app.ts';
import type { CoreContext, UpgradeHandler } from './context.ts';
import { registerTails } from './tails.ts';

const TOKEN = `token-${randomBytes(8).toString('hex')}`;
const FOREIGN = `foreign-${randomBytes(8).toString('hex')}`;

let dir: string;
let ledger: Ledger;
let bus: Bus;
let server: Server;
let tails: { close(): void };
let base: string;
const traced: { accountId: string; script: string; seconds: number }[] = [];

const event = (outcome = 'ok', logs: TailEvent['logs'] = []): TailEvent => ({
  outcome,
  scriptName: 'w',
  scriptVersion: { id: 'v1' },
  diagnosticsChannelEvents: [],
  exceptions: [],
  logs,
  eventTimestamp: 1,
  event: { request: { url: 'http://x.example/', method: 'GET', headers: {} }, response: { status: 200 } },
  truncated: false,
  executionModel: 'stateless',
});

interface Session {
  id: string;
  url: string;
  expires_at: string;
}

async function api(method: string, path: string, body?: unknown, token = TOKEN) {
  const response = await fetch(`${base}/client/v4/accounts/a1/workers/scripts/${path}`, {
    method,
    headers: { authorization: `Bearer ${token}` },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const envelope = (await response.json()) as { result: Session; errors: { code: number }[] };
  return { status: response.status, ...envelope };
}

async function listen(url: string): Promise<WebSocket> {
  const ws = new WebSocket(url, 'trace-v1');
  await once(ws, 'open');
  assert.equal(ws.protocol, 'trace-v1');
  return ws;
}

async function refusedWith(url: string, protocol?: string): Promise<number | undefined> {
  const ws = new WebSocket(url, protocol ? [protocol] : []);
  ws.on('error', () => {});
  const [, response] = (await once(ws, 'unexpected-response')) as [unknown, IncomingMessage];
  ws.terminate();
  return response.statusCode;
}

const next = async (ws: WebSocket) => JSON.parse(String((await once(ws, 'message'))[0]));
async function until(what: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !what(); i++) await new Promise((done) => setTimeout(done, 10));
  assert.ok(what(), `in time: ${what}`);
}

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'selvedge-tails-'));
  ledger = openSqliteLedger(join(dir, 'ledger.sqlite'));
  bus = createHub();
  bus.respond('pop.tail', (message) => {
    traced.push(message);
    return {};
  });
  for (const [id, value] of [
    ['a1', TOKEN],
    ['a2', FOREIGN],
  ] as const) {
    await ledger.put(keys.account(id), { id, name: id, subdomain: id, createdOn: '' });
    const hash = createHash('sha256').update(value).digest('hex');
    const token = { id: `t-${id}`, accountId: id, name: 't', createdOn: '', expiresOn: null, revokedOn: null };
    await ledger.put(keys.token(hash), token);
  }
  await ledger.put(keys.script('a1', 'w'), { accountId: 'a1', name: 'w' });

  const handlers: [string, UpgradeHandler][] = [];
  const app = createApp();
  // Of the context only these parts are used here.
  const context = {
    ledger,
    bus,
    onUpgrade: (prefix: string, handler: UpgradeHandler) => handlers.push([prefix, handler]),
  };
  tails = registerTails(app, context as unknown as CoreContext);
  server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }) as Server;
  server.on('upgrade', (request, socket, head) => {
    const handler = handlers.find(([prefix]) => request.url?.startsWith(prefix))?.[1];
    if (handler) handler(request, socket, head);
    else socket.destroy();
  });
  if (!server.listening) await once(server, 'listening');
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

after(async () => {
  tails.close();
  server.closeAllConnections();
  server.close();
  await bus.close();
  await ledger.close();
  await rm(dir, { recursive: true });
});

describe('tail sessions', () => {
  it('are made with a URL on the host that the client used, and an expiry', async () => {
    const { status, result } = await api('POST', 'w/tails', { filters: [] });
    assert.equal(status, 200);
    assert.match(result.url, new RegExp(`^ws://127.0.0.1:${new URL(base).port}/tail/[\\w-]{43}$`));
    assert.ok(Date.parse(result.expires_at) > Date.now() + 3600_000);
    const list = await api('GET', 'w/tails');
    assert.deepEqual(list.result, [{ id: result.id, expires_at: result.expires_at }]);
    assert.equal((await api('DELETE', `w/tails/${result.id}`)).status, 200);
    assert.deepEqual((await api('DELETE', `w/tails/${result.id}`)).errors[0]?.code, 10065);
  });
  it('are refused for a Worker that does not exist, a foreign token and filters that are none', async () => {
    assert.equal((await api('POST', 'nobody/tails', {})).errors[0]?.code, 10007);
    assert.equal((await api('POST', 'w/tails', {}, FOREIGN)).errors[0]?.code, 9109);
    assert.equal((await api('POST', 'w/tails', { filters: [{ color: 'red' }] })).errors[0]?.code, 10001);
  });
  it('give the events of the script that pass the filters, while somebody listens', async () => {
    const { result } = await api('POST', 'w/tails', { filters: [{ outcome: ['exception'] }] });
    const ws = await listen(result.url);
    assert.deepEqual(traced.at(-1), { accountId: 'a1', script: 'w', seconds: 60 });
    const message = next(ws);
    bus.publish('tail.a2.w', event('exception'));
    bus.publish('tail.a1.w', event('ok'));
    bus.publish('tail.a1.w', { ...event('exception'), eventTimestamp: 2 });
    assert.deepEqual(await message, { ...event('exception'), eventTimestamp: 2 });
    ws.close();
    await once(ws, 'close');
    await until(() => traced.at(-1)?.seconds === 0);
    assert.deepEqual((await api('GET', 'w/tails')).result, []);
  });
  it('trace the script until the last listener is gone', async () => {
    const urls = [(await api('POST', 'w/tails', {})).result.url, (await api('POST', 'w/tails', {})).result.url];
    const [first, second] = await Promise.all(urls.map(listen));
    first!.close();
    await once(first!, 'close');
    const message = next(second!);
    bus.publish('tail.a1.w', event());
    await message;
    assert.equal(traced.at(-1)?.seconds, 60);
    second!.close();
    await until(() => traced.at(-1)?.seconds === 0);
  });
  it('close with 1000 when deleted', async () => {
    const { result } = await api('POST', 'w/tails', {});
    const ws = await listen(result.url);
    const closed = once(ws, 'close');
    await api('DELETE', `w/tails/${result.id}`);
    assert.equal((await closed)[0], 1000);
  });
  it('answer a ping with its payload', async () => {
    const { result } = await api('POST', 'w/tails', {});
    const ws = await listen(result.url);
    ws.ping('wrangler tail ping');
    assert.equal(String((await once(ws, 'pong'))[0]), 'wrangler tail ping');
    ws.close();
    await once(ws, 'close');
  });
  it('are refused with a wrong secret, without the subprotocol, and to a second listener', async () => {
    const { result } = await api('POST', 'w/tails', {});
    assert.equal(await refusedWith(`${base.replace('http', 'ws')}/tail/${'x'.repeat(43)}`, 'trace-v1'), 404);
    assert.equal(await refusedWith(result.url), 400);
    const ws = await listen(result.url);
    assert.equal(await refusedWith(result.url, 'trace-v1'), 409);
    ws.close();
    await once(ws, 'close');
  });
  it('are at most ten a script', async () => {
    const made = [];
    for (let i = 0; i < 10; i++) made.push((await api('POST', 'w/tails', {})).result.id);
    assert.equal((await api('POST', 'w/tails', {})).errors[0]?.code, 10063);
    for (const id of made) await api('DELETE', `w/tails/${id}`);
  });
  it('take the unmasked frame that wrangler sends first, in any pieces, together with the handshake', async () => {
    for (const pieces of [1, 4, 200]) {
      const { result } = await api('POST', 'w/tails', {});
      const { host, pathname } = new URL(result.url);
      const socket: Socket = connect(Number(host.split(':')[1]), '127.0.0.1').setNoDelay(true);
      const payload = Buffer.from('{"debug":false}');
      const handshake = `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\nSec-WebSocket-Protocol: trace-v1\r\n\r\n`;
      const bytes = Buffer.concat([Buffer.from(handshake), Buffer.from([0x81, payload.length]), payload]);
      let received = '';
      socket.on('data', (chunk) => {
        received += chunk.toString('latin1');
      });
      const size = Math.ceil(bytes.length / pieces);
      for (let at = 0; at < bytes.length; at += size) {
        socket.write(bytes.subarray(at, at + size));
        await new Promise((done) => setImmediate(done));
      }
      await until(() => received.includes('trace-v1\r\n'));
      bus.publish('tail.a1.w', event('canceled'));
      await until(() => received.includes('"outcome":"canceled"'));
      socket.destroy();
      await until(() => traced.at(-1)?.seconds === 0);
    }
  });
  it('end for a client whose frames are too large, and for nobody else', async () => {
    const good = await listen((await api('POST', 'w/tails', {})).result.url);
    const bad = await listen((await api('POST', 'w/tails', {})).result.url);
    bad.on('error', () => {});
    bad.send('x'.repeat(70_000));
    await once(bad, 'close');
    const message = next(good);
    bus.publish('tail.a1.w', event());
    await message;
    good.close();
    await once(good, 'close');
  });
  it('are what the real wrangler tail reads', { timeout: 60_000 }, async () => {
    const wrangler = fileURLToPath(new URL('../../node_modules/wrangler/bin/wrangler.js', import.meta.url));
    const child = spawn(process.execPath, [wrangler, 'tail', 'w', '--format', 'json', '--status', 'error'], {
      cwd: dir,
      env: {
        PATH: process.env.PATH,
        HOME: dir,
        CI: '1',
        WRANGLER_SEND_METRICS: 'false',
        CLOUDFLARE_API_BASE_URL: `${base}/client/v4`,
        CLOUDFLARE_API_TOKEN: TOKEN,
        CLOUDFLARE_ACCOUNT_ID: 'a1',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
    const gone = once(child, 'exit');
    const before = traced.length;
    while (traced.length === before && child.exitCode === null) await new Promise((done) => setTimeout(done, 20));
    while (!output.includes('unseen by others') && child.exitCode === null) {
      bus.publish('tail.a1.w', event('ok'));
      const log = { message: ['unseen by others'], level: 'log', timestamp: 1 };
      bus.publish('tail.a1.w', event('exceededCpu', [log]));
      await new Promise((done) => setTimeout(done, 50));
    }
    assert.match(output, /"outcome": "exceededCpu"/);
    assert.doesNotMatch(output, /"outcome": "ok"/);
    // The server ends the session: for wrangler that is the end, not a failure.
    const [{ id }] = (await api('GET', 'w/tails')).result as unknown as [Session];
    await api('DELETE', `w/tails/${id}`);
    assert.equal((await gone)[0], 0, output);
  });
});
