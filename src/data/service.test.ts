import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { WebSocketServer } from 'ws';
import type { Attach, EdgeChange, IsolateSet, Publications, TailEvent } from '../model/messages.ts';
import { workerdPath } from '../pop/isolates/workerd.ts';
import { closeProducts, type DataProducts, openDataProducts } from '../products/state.ts';
import type { Bus } from '../state/bus.ts';
import { createHub } from '../state/local-bus.ts';
import { openVault } from '../state/vault.ts';
import { type DataService, startDataService } from './service.ts';

/** The caller: fetch, WebSocket, Cache API and a service binding, all through the sockets of the data process. */
const CALLER = `
export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    const to = searchParams.get('to');
    try {
      if (pathname === '/fetch') {
        const response = await fetch(to);
        return Response.json({ status: response.status, text: await response.text(), headers: [...response.headers.keys()] });
      }
      if (pathname === '/many') {
        for (let i = 0; i < 60; i++) await fetch(to);
        return new Response('all went');
      }
      if (pathname === '/ws') {
        const { webSocket } = await fetch(to, { headers: { Upgrade: 'websocket' } });
        webSocket.accept();
        const answer = new Promise((resolve) => webSocket.addEventListener('message', (event) => resolve(event.data)));
        webSocket.send('ping');
        return new Response(await answer);
      }
      if (pathname === '/cache') {
        const put = await caches.default.put('http://x.example/a', new Response('kept', { headers: { 'cache-control': 'max-age=60' } }));
        const hit = await caches.default.match('http://x.example/a');
        return Response.json([put ?? null, hit ?? null, await caches.default.delete('http://x.example/a')]);
      }
      if (pathname === '/slow') return new Response(await env.OTHER.slow());
      if (pathname === '/rpc') return new Response(await env.OTHER.add(2, 3));
      if (pathname === '/assets') return env.ASSETS.fetch(request);
      return env.OTHER.fetch(request);
    } catch (error) {
      return new Response('thrown: ' + error.message);
    }
  },
};`;
const target = (version: string) => `
import { WorkerEntrypoint } from 'cloudflare:workers';
export class Other extends WorkerEntrypoint {
  add(a, b) { return String(a + b) + ' by ${version}'; }
  async slow() { await scheduler.wait(2500); return 'slow, by ${version}'; }
  fetch() { return new Response('fetched from ${version}'); }
}
export default { fetch() { return new Response('wrong entrypoint'); } };`;

const SERVICES = `
  (name="internet", external=(address="unix:egress.sock", http=(style=proxy, cfBlobHeader="selvedge-cf"))),
  (name="cache", external=(address="unix:cache.sock", http=(style=proxy))),
  (name="assets", external=(address="unix:assets.sock", http=())),
  (name="svc", external=(address="unix:svc-0.sock", http=(capnpConnectHost="selvedge-rpc"))),`;
const config = (services: string, bindings: string, sockets: string) => `
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [${services}
    (name="user", worker=(modules=[(name="w.js", esModule=embed "w.js")], compatibilityDate="2026-11-01",
      ${bindings}))],
  sockets = [(name="main", address="unix:m.sock", http=(cfBlobHeader="selvedge-cf"), service="user")${sockets}]);`;

const account: EdgeChange = { key: 'account/a1', doc: { kind: 'account', id: 'a1', subdomain: 'sub' } };
const deployed = (versionId: string): EdgeChange => ({
  key: 'script/a1/other',
  doc: {
    kind: 'script',
    accountId: 'a1',
    name: 'other',
    workersDev: true,
    previews: false,
    deployment: { id: `d-${versionId}`, versions: [{ versionId, percentage: 100 }] },
    aliases: {},
  },
});

let dir: string;
let hub: Bus;
let data: DataService;
let products: DataProducts;
let origin: Server;
let base: string;
const processes: ChildProcess[] = [];
const published: { subject: string; message: unknown }[] = [];

async function startWorkerd(name: string, script: string, text: string): Promise<string> {
  const home = join(dir, name);
  await writeFile(join(home, 'w.js'), script);
  await writeFile(join(home, 'c.capnp'), text);
  const child = spawn(workerdPath(), ['serve', '--control-fd=3', 'c.capnp'], {
    cwd: home,
    stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
    env: {},
  });
  processes.push(child);
  await once(child.stdio[3]!, 'data');
  return home;
}

async function startTarget(versionId: string): Promise<IsolateSet> {
  await mkdir(join(dir, versionId));
  const rpc = `, (name="rpc", address="unix:r-1.sock", service=(name="user", entrypoint="Other"), http=(capnpConnectHost="selvedge-rpc"))`;
  const home = await startWorkerd(
    versionId,
    target(versionId),
    config('', 'globalOutbound="user"', rpc).replace('services = [', 'services = [(name="internet", disk="."),'),
  );
  const ref = { id: `i-${versionId}`, main: join(home, 'm.sock'), rpc: { Other: join(home, 'r-1.sock') } };
  return { versionId, isolates: [ref], tailed: false };
}

function ask(path: string): Promise<string> {
  return new Promise((done, fail) => {
    const req = request({
      socketPath: join(dir, 'caller', 'm.sock'),
      path,
      headers: { host: 'w.example' },
      agent: false,
    });
    req.on('error', fail);
    req.on('response', async (res) => {
      let body = '';
      for await (const chunk of res.setEncoding('utf8')) body += chunk;
      done(body);
    });
    req.end();
  });
}

const seen = <T>(subject: string) =>
  published.filter((each) => each.subject === subject).map(({ message }) => message as T);
async function until(what: () => unknown): Promise<void> {
  for (let i = 0; i < 500 && !what(); i++) await new Promise((done) => setTimeout(done, 20));
  assert.ok(what(), `in time: ${what}`);
}

const attach: Attach = {
  isolate: 'caller-1',
  dir: '',
  accountId: 'a1',
  script: 'caller',
  versionId: 'v-caller',
  services: [{ socket: 'svc-0.sock', script: 'other', entrypoint: 'Other' }],
  assets: { manifest: 'm', config: { html_handling: 'none', not_found_handling: 'none', run_worker_first: false } },
  own: '',
  bindings: [],
  subrequests: 50,
};

describe('the data process, with real isolate processes', () => {
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'sv-data-'));
    await mkdir(join(dir, 'caller'));
    origin = createServer((req, res) => res.end(`origin says ${req.headers['cf-worker']}`)).listen(0, '127.0.0.1');
    await once(origin, 'listening');
    const sockets = new WebSocketServer({ server: origin });
    sockets.on('connection', (ws) => ws.on('message', (message) => ws.send(`echo ${message}`)));
    base = `http://127.0.0.1:${(origin.address() as AddressInfo).port}`;

    hub = createHub();
    const first = await startTarget('v1');
    hub.respond('local.snapshot', () => ({ changes: [account, deployed('v1')], isolates: [] }));
    // The target sleeps: the first call wakes it.
    hub.respond('local.wake', ({ versionId }) => {
      if (versionId !== 'v1') throw new Error(`version ${versionId} does not start`);
      hub.publish('local.isolates', first);
      return first;
    });
    for (const subject of ['local.load', 'local.released', 'local.egress', 'tail.>']) {
      hub.subscribe(subject, (message, subject) => published.push({ subject, message }));
    }
    products = await openDataProducts(dir, { diskBytes: 1e9, memoryBytes: 1e6 });
    data = await startDataService({
      bus: hub,
      products,
      vault: openVault(join(dir, 'secret.key')),
      settings: {
        listen: '127.0.0.1',
        httpPort: 1,
        httpsPort: 1,
        apiPort: 1,
        listeners: [],
        workersDomain: 'workers.localhost',
        egressAllow: [],
        egressAllowByAccount: { a1: ['127.0.0.1'] },
      },
      assetServer: () => createServer((_req, res) => res.end('an asset')),
    });
    await hub.request('local.attach', { ...attach, dir: join(dir, 'caller') });
    const bindings = `globalOutbound="internet", cacheApiOutbound="cache", bindings=[
      (name="OTHER", service="svc"), (name="ASSETS", service="assets")]`;
    await startWorkerd('caller', CALLER, config(SERVICES, bindings, ''));
  });

  after(async () => {
    for (const child of processes) child.kill('SIGKILL');
    await data.close();
    await closeProducts(products);
    await hub.close();
    origin.closeAllConnections();
    origin.close();
    await rm(dir, { recursive: true });
  });

  it('opens sockets that another user may connect to', async () => {
    for (const file of ['egress', 'cache', 'tail', 'assets', 'svc-0']) {
      assert.equal((await stat(join(dir, 'caller', `${file}.sock`))).mode & 0o777, 0o666, file);
    }
  });
  it('lets a Worker fetch, and names it to the origin', async () => {
    const { status, text, headers } = JSON.parse(await ask(`/fetch?to=${base}/`));
    assert.deepEqual([status, text], [200, 'origin says caller.sub.workers.localhost']);
    assert.ok(!headers.includes('connection') && !headers.includes('keep-alive'));
  });
  it('answers a Worker that asks for a private address', async () => {
    const { status, text } = JSON.parse(await ask('/fetch?to=http://169.254.169.254/latest/meta-data'));
    assert.deepEqual([status, text.split('\n')[0]], [403, 'error code: 1003']);
  });
  it('allows private addresses to the account that has them, and to no other', async () => {
    const status = async (accountId: string) => {
      await mkdir(join(dir, accountId));
      await hub.request('local.attach', { ...attach, isolate: accountId, dir: join(dir, accountId), accountId });
      const socketPath = join(dir, accountId, 'egress.sock');
      const req = request({ socketPath, path: `${base}/`, agent: false }).end();
      const [res] = await once(req, 'response');
      res.resume();
      await hub.request('local.detach', { isolate: accountId });
      return res.statusCode;
    };
    assert.deepEqual([await status('a1'), await status('a2')], [200, 403]);
  });
  it('tells what Workers sent outward, by Worker', async () => {
    const sum = () => {
      const uses = seen<Publications['local.egress']>('local.egress').flatMap(({ scripts }) => scripts);
      const mine = uses.filter(({ accountId, script }) => accountId === 'a1' && script === 'caller');
      return mine.reduce((total, { subrequests, refused }) => [total[0]! + subrequests, total[1]! + refused], [0, 0]);
    };
    await until(() => sum()[0]! >= 3 && sum()[1]! >= 1);
    const [use] = seen<Publications['local.egress']>('local.egress')[0]!.scripts;
    assert.ok(use!.bytesOut > 0 && use!.bytesIn > 0);
  });
  it('lets a Worker open a WebSocket', async () => {
    assert.equal(await ask(`/ws?to=${base}/`), 'echo ping');
  });
  it('keeps what is put into the Cache API', async () => {
    assert.equal(await ask('/cache'), '[null,{},true]');
  });
  it('serves the ASSETS binding', async () => {
    assert.equal(await ask('/assets'), 'an asset');
  });
  it('calls another Worker by RPC and by fetch, waking it first', async () => {
    assert.equal(await ask('/rpc'), '5 by v1');
    assert.equal(await ask('/'), 'fetched from v1');

    await until(() =>
      seen<Publications['local.load']>('local.load').some(
        ({ from, isolates }) => from === 'data' && (isolates['i-v1']?.started ?? 0) > 0,
      ),
    );
  });
  it('moves to the new process of the target and releases the old one when its last call is done', async () => {
    const slow = ask('/slow');
    await until(() => seen<Publications['local.load']>('local.load').at(-1)?.isolates['i-v1']?.open === 1);
    const second = await startTarget('v2');
    hub.publish('local.isolates', second);
    hub.publish('local.docs', { changes: [deployed('v2')] });
    hub.publish('local.isolates', { versionId: 'v1', isolates: [], tailed: false });
    assert.equal(await slow, 'slow, by v1');
    await until(() =>
      seen<Publications['local.released']>('local.released').some(
        ({ from, isolate }) => from === 'data' && isolate === 'i-v1',
      ),
    );
    assert.equal(await ask('/rpc'), '5 by v2');
  });
  it('ends a call to a Worker that is gone, or whose version does not start', async () => {
    hub.publish('local.docs', { changes: [deployed('v-broken')] });
    hub.publish('local.isolates', { versionId: 'v2', isolates: [], tailed: false });
    await until(() => seen<Publications['local.released']>('local.released').some(({ isolate }) => isolate === 'i-v2'));
    assert.match(await ask('/rpc'), /^thrown: /);
    hub.publish('local.docs', { changes: [{ key: 'script/a1/other', doc: null }] });
    assert.match(await ask('/rpc'), /^thrown: /);
  });
  it('publishes trace items with script and version of the socket that they came by', async () => {
    const item = { outcome: 'ok', scriptName: 'forged', scriptVersion: { id: 'forged' }, logs: [], eventTimestamp: 7 };
    const req = request({ socketPath: join(dir, 'caller', 'tail.sock'), method: 'POST' });
    req.end(JSON.stringify([item]));
    await once(req, 'response');
    const [event] = seen<TailEvent>('tail.a1.caller');
    assert.deepEqual(
      [event?.scriptName, event?.scriptVersion, event?.eventTimestamp],
      ['caller', { id: 'v-caller' }, 7],
    );
  });
  it('makes fetch throw above the subrequest limit, and says so in the tail', async () => {
    hub.publish('local.load', { from: 'edge-0', isolates: { 'caller-1': { open: 1, started: 1 } } });
    assert.match(await ask(`/many?to=${base}/`), /^thrown: /);
    const told = () => seen<TailEvent>('tail.a1.caller').flatMap(({ exceptions }) => exceptions);
    assert.equal(told().at(-1)?.message, 'Too many subrequests.');
    // The edge dies with its requests.
    hub.publish('local.gone', { name: 'edge-0' });
    assert.match(await ask(`/fetch?to=${base}/`), /origin says/);
  });
  it('closes the sockets and their connections when the isolate is detached', async () => {
    await hub.request('local.detach', { isolate: 'caller-1' });
    for (const file of ['egress', 'cache', 'tail', 'assets', 'svc-0']) {
      assert.equal(existsSync(join(dir, 'caller', `${file}.sock`)), false, file);
    }
    assert.match(await ask(`/fetch?to=${base}/`), /^thrown: /);
    await hub.request('local.detach', { isolate: 'caller-1' });
  });
});
