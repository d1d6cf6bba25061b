/**
 * A bench for tests of the edge: the real listeners before real workerd processes, with this process in the supervisor's place. Its
 * processes are not sandboxed; what isolates do is tested in `pop/isolates`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { testSettings } from '../config/testing.ts';
import type { EdgeChange, IsolateSet, Publications, Verdict } from '../model/messages.ts';
import type { Settings } from '../model/settings.ts';
import { type Certificates, openCertificates } from '../pop/certificates.ts';
import { workerdPath } from '../pop/isolates/workerd.ts';
import { openFileBlobs } from '../state/file-blobs.ts';
import { createHub, type Hub } from '../state/local-bus.ts';
import { AssetStage } from './assets.ts';
import { Connections } from './connections.ts';
import type { Edge } from './handle.ts';
import { Instances } from './instance.ts';
import { LimitHits } from './limit-hits.ts';
import { type Listeners, listen } from './listener.ts';
import { trustedProxies } from './peer.ts';
import type { RequestRecord } from './record.ts';
import { followSnapshot, Snapshot } from './snapshot.ts';
import { StorageStage } from './storage.ts';
import { WebSocketRelay } from './websocket-relay.ts';

export const ACCOUNT = 'a'.repeat(32);
export const SUBDOMAIN = 'acme';
export const WORKERS_DOMAIN = 'workers.localhost';

/** "00000001-0000-4000-8000-000000000000" for 1. */
export function versionId(number: number): string {
  return `${number.toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`;
}

export class Bench {
  readonly hub: Hub;
  readonly edge: Edge;
  readonly certificates: Certificates;
  listeners!: Listeners;
  /** What `local.verdict` answers. */
  verdict: Verdict = 'unknown';
  killedAt: number | null = null;
  /** What `local.wake` does; counts in `wakes`. Fails by default. */
  onWake: (versionId: string) => Promise<IsolateSet> = async () => {
    throw new Error('this Worker does not start');
  };
  wakes = 0;
  readonly records: RequestRecord[] = [];
  readonly released: string[] = [];
  readonly loads: Publications['local.load'][] = [];
  readonly directory: string;
  readonly #documents = new Map<string, EdgeChange>();
  readonly #sets = new Map<string, IsolateSet>();
  readonly #processes = new Map<string, ChildProcess>();
  #count = 0;

  constructor(directory: string, certificates: Certificates, edge: Omit<Edge, 'snapshot' | 'bus'>) {
    this.directory = directory;
    this.certificates = certificates;
    this.hub = createHub();
    this.edge = {
      ...edge,
      bus: this.hub,
      snapshot: new Snapshot(WORKERS_DOMAIN, new Instances(this.hub, 'edge-under-test')),
    };
    this.hub.respond('local.snapshot', () => ({
      changes: [...this.#documents.values()],
      isolates: [...this.#sets.values()],
    }));
    this.hub.respond('local.wake', ({ versionId }) => {
      this.wakes++;
      return this.onWake(versionId);
    });
    this.hub.respond('local.verdict', () => ({ verdict: this.verdict, killedAt: this.killedAt }));
    this.hub.respond('local.ticket-keys', () => ({ keys: Buffer.alloc(48, 7).toString('base64') }));
    this.hub.respond('local.certificate', ({ serverName }) => certificates.issue(serverName));
    this.hub.subscribe('local.released', ({ isolate }: Publications['local.released']) => this.released.push(isolate));
    this.hub.subscribe('local.load', (load: Publications['local.load']) => this.loads.push(load));
  }

  get httpPort(): number {
    return this.listeners.ports[0]!;
  }

  get httpsPort(): number {
    return this.listeners.ports[1]!;
  }

  /** Says what the ledger has: key -> document, null for a deletion. */
  tell(documents: Record<string, EdgeChange['doc']>): void {
    const changes = Object.entries(documents).map(([key, doc]) => ({ key, doc }));
    for (const change of changes) this.#documents.set(change.key, change);
    this.hub.publish('local.docs', { changes });
  }

  /** A script with these shares; its versions have code and no assets. */
  script(name: string, shares: Record<string, number>, over: object = {}): void {
    const versions = Object.entries(shares).map(([id, percentage]) => ({ versionId: id, percentage }));
    const script = { kind: 'script' as const, accountId: ACCOUNT, name, workersDev: true, previews: true, aliases: {} };
    this.tell({
      [`script/${ACCOUNT}/${name}`]: {
        ...script,
        deployment: versions.length > 0 ? { id: 'd', versions } : null,
        ...over,
      },
    });
    for (const { versionId: id } of versions) {
      this.tell({
        [`version/${ACCOUNT}/${name}/${id}`]: {
          kind: 'version',
          id,
          accountId: ACCOUNT,
          script: name,
          hasCode: true,
          assets: null,
        },
      });
    }
  }

  /** Says which processes take the requests of a version. */
  isolates(version: string, ids: string[], tailed = false): IsolateSet {
    const isolates = ids.map((id) => ({ id, main: join(this.directory, `${id}.sock`), rpc: {} }));
    const set = { versionId: version, isolates, tailed };
    this.#sets.set(version, set);
    this.hub.publish('local.isolates', set);
    return set;
  }

  /** Starts a workerd process with this module and returns its id, which `isolates` takes. */
  async start(source: string): Promise<string> {
    const id = `i${++this.#count}`;
    await writeFile(join(this.directory, `${id}.js`), source);
    await writeFile(
      join(this.directory, `${id}.capnp`),
      `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "internet", external = (address = "unix:absent.sock", http = ())),
    (name = "w", worker = (modules = [(name = "${id}.js", esModule = embed "${id}.js")], compatibilityDate = "2026-11-01"))],
  sockets = [(name = "main", address = "unix:${id}.sock", service = "w",
    http = (cfBlobHeader = "selvedge-cf", forwardedProtoHeader = "selvedge-proto"))]);
`,
    );
    const child = spawn(workerdPath(), ['serve', '--control-fd=3', `${id}.capnp`], {
      cwd: this.directory,
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    });
    this.#processes.set(id, child);
    const listening = once(child.stdio[3]!, 'data');
    const ended = once(child, 'exit').then(([code]) => {
      throw new Error(`workerd ended with ${code}`);
    });
    await Promise.race([listening, ended]);
    ended.catch(() => undefined);
    return id;
  }

  /** kill -9 */
  async kill(id: string): Promise<void> {
    const child = this.#processes.get(id)!;
    this.#processes.delete(id);
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
  }

  async close(): Promise<void> {
    await this.listeners.close(500);
    this.edge.snapshot.instances.close();
    await Promise.all([...this.#processes.keys()].map((id) => this.kill(id)));
    await this.hub.close();
    await rm(this.directory, { recursive: true });
  }
}

/** An edge that listens on free ports of the loopback, with an account and nothing else. */
export async function openBench(over: Partial<Settings> = {}): Promise<Bench> {
  const directory = await mkdtemp(join(tmpdir(), 'selvedge-edge-'));
  const settings = testSettings(directory, { edges: 1, ...over });
  const hits = new LimitHits();
  const bench: Bench = new Bench(directory, await openCertificates(directory), {
    settings,
    connections: new Connections(settings.limits, 1, hits),
    webSockets: new WebSocketRelay(settings.limits, hits),
    hits,
    trusted: trustedProxies(settings.trustedProxies),
    assets: new AssetStage(await openFileBlobs(join(directory, 'blobs'))),
    storage: new StorageStage(directory),
    tracing: null,
    observer: { done: (record) => void bench.records.push(record) },
    colo: 'DEV',
    draining: false,
  });
  bench.tell({ [`account/${ACCOUNT}`]: { kind: 'account', id: ACCOUNT, subdomain: SUBDOMAIN } });
  await followSnapshot(bench.hub, bench.edge.snapshot);
  const at = { host: '127.0.0.1', port: 0 };
  bench.listeners = await listen(bench.edge, [
    { scheme: 'http', proxyProtocol: false, at },
    { scheme: 'https', proxyProtocol: false, at },
    { scheme: 'http', proxyProtocol: true, at },
    { scheme: 'https', proxyProtocol: true, at },
  ]);
  return bench;
}

export const HOST = `shop.${SUBDOMAIN}.${WORKERS_DOMAIN}`;

const SOURCE = `
let cancelled = 0, written = 0, calls = 0;
export default { async fetch(request) {
  const url = new URL(request.url);
  calls++;
  switch (url.pathname) {
    case '/see': return Response.json({ url: request.url, method: request.method, cf: request.cf, headers: [...request.headers] });
    case '/echo': return new Response(request.body, { headers: { 'x-length': request.headers.get('content-length') ?? 'none' } });
    case '/cookies': return new Response('', { headers: [['set-cookie', 'a=1'], ['set-cookie', 'b=2'], ['server', 'mine'], ['cf-ray', 'mine']] });
    case '/throw': throw new Error('secret detail');
    case '/own500': return new Response('mine', { status: 500 });
    case '/204': return new Response(null, { status: 204 });
    case '/304': return new Response(null, { status: 304, headers: { etag: '"x"' } });
    case '/state': return Response.json({ cancelled, written, calls });
    case '/lines': {
      const { readable, writable } = new TransformStream();
      const writer = writable.getWriter();
      const reader = request.body.getReader();
      (async () => { for (;;) { const { done, value } = await reader.read(); if (done) break; await writer.write(value); } await writer.close(); })();
      return new Response(readable);
    }
    case '/endless': return new Response(new ReadableStream({
      type: 'bytes',
      pull(c) { written += 65536; c.enqueue(new Uint8Array(65536)); },
      cancel() { cancelled++; },
    }));
    case '/slow': await new Promise((resolve) => setTimeout(resolve, 60000)); return new Response('late');
    case '/begin': return new Response(new ReadableStream({ start(c) { c.enqueue(new Uint8Array([98])); } }));
    case '/loop': for (;;);
  }
  return new Response('hello from ' + VERSION);
} }`;

/** A Worker that does by path what a test needs of it. */
export const source = (version: string) => `const VERSION = '${version}';${SOURCE}`;

export interface Ask {
  host?: string;
  method?: string;
  headers?: OutgoingHttpHeaders | string[];
  body?: string;
}

/** Sends a request over HTTP/1.1 on a connection of its own. A POST without a body is left open. */
export function open(bench: Bench, path: string, { host = HOST, method, headers = {}, body }: Ask = {}) {
  const all = Array.isArray(headers) ? ['Host', host, ...headers] : { host, ...headers };
  const request = httpRequest({
    host: '127.0.0.1',
    port: bench.httpPort,
    path,
    method,
    headers: all,
    agent: false,
  });
  if (method !== 'POST' || body !== undefined) request.end(body);
  return request;
}

/** The whole answer. */
export async function answer(request: ReturnType<typeof open>) {
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += chunk;
  return { status: response.statusCode, headers: response.headers, raw: response.rawHeaders, text };
}

/** Waits until `condition` holds; fails after ten seconds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export const HTTP2_PREFACE: Buffer = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** One HTTP/2 frame (RFC 9113, 4.1). */
export function http2Frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A header section, each field literal and not indexed (RFC 7541, 6.2.2); latin1, HOST stands for the Worker's host. */
export function http2Fields(fields: [string, string][]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]));
}

/** Text of any bytes with its length (RFC 7541, 5.2), without Huffman coding. */
function literal(text: string): Buffer {
  const bytes = Buffer.from(text.replaceAll('HOST', HOST), 'latin1');
  const length: number[] = [];
  if (bytes.length < 127) length.push(bytes.length);
  else {
    length.push(127);
    let rest = bytes.length - 127;
    for (; rest >= 128; rest >>= 7) length.push((rest & 127) | 128);
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}
