/**
 * A request's way through the edge, stage by stage: identify -> head -> route -> version -> assets -> worker; or, for the objects of a bucket,
 * route -> storage. Each stage is a file of this folder with that name.
 */
import { type IncomingMessage, METHODS, type ServerResponse, STATUS_CODES } from 'node:http';
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { log, reason } from '../model/log.ts';
import type { Target } from '../model/route.ts';
import type { Settings } from '../model/settings.ts';
import type { Bus } from '../state/bus.ts';
import type { AssetStage } from './assets.ts';
import type { Connections } from './connections.ts';
import { type EdgeError, sendError } from './error-pages.ts';
import { BadRequest, type Head, readHead } from './headers.ts';
import { type Client, identify, rayId } from './identify.ts';
import type { LimitHits } from './limit-hits.ts';
import { addressOf, readForwarded, type TrustedProxies } from './peer.ts';
import { type Observer, RequestRecord } from './record.ts';
import { Http1Reply, Http2Reply, isRefused, type Reply } from './reply.ts';
import type { Snapshot, VersionDoc } from './snapshot.ts';
import type { StorageStage } from './storage.ts';
import type { Tracing } from './tracing.ts';
import { versionOf } from './version.ts';
import { passWebSocket } from './websocket.ts';
import type { WebSocketRelay } from './websocket-relay.ts';
import { askWorker, type Passage } from './worker.ts';

/** What every request needs; one per edge process. */
export interface Edge {
  settings: Settings;
  snapshot: Snapshot;
  bus: Bus;
  assets: AssetStage;
  storage: StorageStage;
  observer: Observer;
  /** Null if requests are not traced. */
  tracing: Tracing | null;
  connections: Connections;
  webSockets: WebSocketRelay;
  hits: LimitHits;
  trusted: TrustedProxies;
  /** Code of this PoP as it stands in CF-Ray. */
  colo: string;
  /** The process stops: what is under way is finished, connections are not kept. */
  draining: boolean;
}

/** Of an HTTP/2 request, what an HTTP/1.1 request has under the same names; its stream is its body. */
interface Http2Request {
  method: string | undefined;
  url: string | undefined;
  rawHeaders: readonly string[];
  stream: ServerHttp2Stream;
}

type Request = IncomingMessage | Http2Request;

/** Who is at the other end of a connection; worked out with its first request. */
interface Peer {
  client: Client | Promise<Client>;
  /** Of trusted proxies: the clients they speak for, the latest ones. */
  forwarded: Map<string, Client | Promise<Client>> | null;
}
const peers = new WeakMap<object, Peer>();
const KNOWN_METHODS = new Set(METHODS);
/** Below it load balancers ask for /live and /ready, by whatever host name. */
const HEALTH_PATH = '/.well-known/selvedge/';
/** Clients that one connection of a trusted proxy remembers. */
const MAX_FORWARDED = 1_000;

/** Answers one HTTP/1.1 request. */
export function handleHttp1(edge: Edge, request: IncomingMessage, response: ServerResponse): void {
  const { socket } = request;
  if (isRefused(socket)) return;
  edge.connections.watchHttp1(request, response);
  withClient(edge, socket, socket, 'HTTP/1.1', request.rawHeaders, (client) =>
    handle(edge, request, new Http1Reply(response, edge, recordOf(edge, client)), client),
  );
}

/** Answers one HTTP/2 request: Node's `stream` event. Its request and response objects cost a fifth of the processor time. */
export function handleHttp2(
  edge: Edge,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  rawHeaders: readonly string[],
): void {
  // What goes wrong with a stream ends it; that is looked at where it matters.
  stream.on('error', ignore);
  const { session } = stream;
  // Gone before its request was looked at; its socket could not be asked any more.
  if (!session || session.destroyed) return;
  // What is reset in the packet that opened it never reaches a Worker (rapid reset).
  if (edge.connections.isHasty(session)) setImmediate(() => answerHttp2(edge, stream, headers, rawHeaders));
  else answerHttp2(edge, stream, headers, rawHeaders);
}

function ignore(): void {}

function answerHttp2(
  edge: Edge,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  rawHeaders: readonly string[],
): void {
  const { session } = stream;
  if (!session || session.destroyed || stream.destroyed || stream.closed) return;
  if (headers.expect !== undefined && !meetExpectation(stream, headers.expect)) return;
  withClient(edge, session, session.socket as Socket, 'HTTP/2', rawHeaders, (client) => {
    const record = recordOf(edge, client);
    edge.connections.watchHttp2(stream, record);
    const request = { method: headers[':method'], url: headers[':path'], rawHeaders, stream };
    handle(edge, request, new Http2Reply(stream, record), client);
  });
}

/** As Node does by itself over HTTP/1.1 (RFC 9110, 10.1.1). False if the request is answered by it. */
function meetExpectation(stream: ServerHttp2Stream, expected: string): boolean {
  const met = expected.toLowerCase() === '100-continue';
  if (met) stream.additionalHeaders({ ':status': 100 });
  else stream.respond({ ':status': 417 }, { endStream: true });
  return met;
}

/** `connection`: the object that stands for it in all of its requests. `raw`: the request's headers. */
function withClient(
  edge: Edge,
  connection: object,
  socket: Socket,
  protocol: 'HTTP/1.1' | 'HTTP/2',
  raw: readonly string[],
  then: (client: Client) => void,
): void {
  const peer = peers.get(connection) ?? meet(edge, connection, socket, protocol);
  const client = peer.forwarded ? forwardedClient(edge, peer.forwarded, socket, protocol, raw) : peer.client;
  if (client instanceof Promise) {
    client.then(then).catch((error: unknown) => {
      log('error', 'a request failed behind its identification', { error: reason(error) });
      socket.destroy();
    });
  } else then(client);
}

function meet(edge: Edge, connection: object, socket: Socket, protocol: 'HTTP/1.1' | 'HTTP/2'): Peer {
  const client = identify(socket, protocol, edge.settings.colo);
  const peer: Peer = { client, forwarded: edge.trusted.has(addressOf(socket)) ? new Map() : null };
  if (client instanceof Promise) {
    client.then(
      (known) => {
        peer.client = known;
      },
      () => peers.delete(connection),
    );
  }
  peers.set(connection, peer);
  return peer;
}

function forwardedClient(
  edge: Edge,
  known: Map<string, Client | Promise<Client>>,
  socket: Socket,
  protocol: 'HTTP/1.1' | 'HTTP/2',
  raw: readonly string[],
): Client | Promise<Client> {
  const forwarded = readForwarded(raw, edge.trusted);
  const key = `${forwarded.scheme} ${forwarded.ip}`;
  let client = known.get(key);
  if (!client) {
    client = identify(socket, protocol, edge.settings.colo, forwarded);
    if (known.size >= MAX_FORWARDED) known.delete(known.keys().next().value!);
    known.set(key, client);
    if (client instanceof Promise) {
      client.then(
        (identified) => known.set(key, identified),
        () => known.delete(key),
      );
    }
  }
  return client;
}

function recordOf(edge: Edge, client: Client): RequestRecord {
  return new RequestRecord(edge.observer, client, `${rayId()}-${edge.colo}`);
}

function handle(edge: Edge, request: Request, reply: Reply, client: Client): void {
  const { ray } = reply.record;
  if (request.url?.startsWith(HEALTH_PATH) && answerHealth(edge, request.url, reply)) return;
  if (request.url === '*' && request.method === 'OPTIONS') {
    answerOptions(reply);
    return;
  }
  const head = headOf(edge, request, client, reply, ray);
  if (!head) return;
  const body = 'stream' in request ? request.stream : request;
  const target = route(edge, head, client, reply, ray);
  if (!target) return;
  if (target.bucket !== undefined) {
    edge.storage.answer(target, { head, body, client, ray, reply });
    return;
  }
  const version = decide(edge, target, head, reply, ray);
  if (!version) return;
  const maxBodyBytes = edge.settings.plan.bodyBytes;
  const passage: Passage = { head, body, maxBodyBytes, client, ray, reply, version };
  if (version.assets) edge.assets.answer(edge, passage);
  else askWorker(edge.snapshot, edge.bus, passage);
}

/** `OPTIONS *` asks for the server itself (RFC 9110, 9.3.7). */
function answerOptions(reply: Reply): void {
  reply.head(204, ['Allow', 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS', 'Server', 'selvedge']);
  reply.end();
}

const BAD_REQUESTS: Record<number, EdgeError> = { 431: 'tooManyHeaders', 501: 'notImplemented', 505: 'version' };

/** False if it is another path, which may be a Worker's. */
function answerHealth(edge: Edge, url: string, reply: Reply): boolean {
  const asked = url.slice(HEALTH_PATH.length);
  if (asked !== 'live' && asked !== 'ready') return false;
  const ready = asked === 'live' || !edge.draining;
  const text = ready ? `${asked}\n` : 'stopping\n';
  reply.head(ready ? 200 : 503, [
    'Content-Type',
    'text/plain',
    'Content-Length',
    String(text.length),
    'Cache-Control',
    'no-store',
  ]);
  reply.end(text);
  return true;
}

/** Passes on one WebSocket upgrade. `socket` is ours from here on, its errors too. */
export function handleUpgrade(edge: Edge, request: IncomingMessage, socket: Duplex, early: Buffer): void {
  socket.on('error', () => socket.destroy());
  edge.connections.forget(request.socket);
  withClient(edge, request.socket, request.socket, 'HTTP/1.1', request.rawHeaders, (client) => {
    const reply = new UpgradeReply(socket, recordOf(edge, client));
    const { ray } = reply.record;
    const head = headOf(edge, request, client, reply, ray);
    if (!head) return;
    const target = route(edge, head, client, reply, ray);
    if (!target) return;
    if (target.bucket !== undefined) return sendError(reply, head, ray, 'notFound');
    const version = decide(edge, target, head, reply, ray);
    if (!version) return;
    if (!version.hasCode) return sendError(reply, head, ray, 'notFound');
    const passage: Passage = { head, body: request, maxBodyBytes: 0, client, ray, reply, version };
    passWebSocket(edge.snapshot, edge.bus, passage, edge.webSockets, socket, early).catch((error: unknown) => {
      log('error', 'a WebSocket could not be passed on', { version: version.id, error: reason(error) });
      sendError(reply, head, ray, 'edge');
    });
  });
}

function headOf(edge: Edge, request: Request, client: Client, reply: Reply, ray: string): Head | null {
  const method = request.method ?? 'GET';
  if (method === 'TRACE' || method === 'CONNECT') {
    reply.refuse();
    sendError(reply, null, ray, 'methodNotAllowed', `${method} is not answered here.`);
    return null;
  }
  try {
    if (request.rawHeaders.length > 2 * edge.settings.limits.headerCount) {
      edge.hits.hit('header_count');
      throw new BadRequest(431, 'The request has too many headers.');
    }
    const head = 'stream' in request ? http2Head(request, method, client) : http1Head(request, method, client);
    reply.record.head = head;
    edge.tracing?.begin(reply.record, head);
    return head;
  } catch (error) {
    if (!(error instanceof BadRequest)) throw error;
    edge.hits.hit('malformed');
    reply.refuse();
    sendError(reply, null, ray, BAD_REQUESTS[error.status] ?? 'badRequest', error.message);
    return null;
  }
}

function http1Head(request: IncomingMessage, method: string, { scheme }: Client): Head {
  if (request.httpVersionMajor !== 1 || request.httpVersionMinor > 1)
    throw new BadRequest(505, `HTTP/${request.httpVersion} is not spoken here.`);
  if (request.httpVersion === '1.0' && request.headers['transfer-encoding'] !== undefined)
    throw new BadRequest(400, 'HTTP/1.0 has no chunks.');
  return readHead(method, request.url ?? '/', request.rawHeaders, scheme);
}

function http2Head({ url, rawHeaders, stream }: Http2Request, method: string, { scheme }: Client): Head {
  // Node's parser refuses others over HTTP/1.1.
  if (!KNOWN_METHODS.has(method)) throw new BadRequest(400, 'The method is not known here.');
  const head = readHead(method, url ?? '/', rawHeaders, scheme);
  // HTTP/2 frames bodies itself; a length is optional there.
  if (stream.endAfterHeaders) head.bodyLength = 0;
  else if (head.bodyLength === 0 && !rawHeaders.includes('content-length')) head.bodyLength = null;
  return head;
}

/** What host and path are; sends the error page itself if they are nobody's. */
function route(edge: Edge, head: Head, client: Client, reply: Reply, ray: string): Target | undefined {
  const target = edge.snapshot.routes.find(head.host, head.path, client.scheme);
  if (target) return target;
  if (target === null) sendError(reply, head, ray, 'noWorker');
  else sendError(reply, head, ray, 'unknownHost', `No Worker is deployed at ${head.host} on this edge.`);
  return undefined;
}

/** The version that answers; sends the error page itself if there is none, or it may not have the body. */
function decide(edge: Edge, target: Target, head: Head, reply: Reply, ray: string): VersionDoc | undefined {
  const version = versionOf(edge.snapshot, target, head);
  const { record } = reply;
  record.routedAt = performance.now();
  if (!version) {
    sendError(reply, head, ray, 'noDeployment');
    return undefined;
  }
  if (head.bodyLength !== null && head.bodyLength > edge.settings.plan.bodyBytes) {
    edge.hits.hit('body_bytes');
    sendError(reply, head, ray, 'tooLarge');
    return undefined;
  }
  record.version = version;
  record.chosen = target.versionId !== undefined || head.versionOverrides !== undefined;
  return version;
}

/** Error answers on a socket that asked for an upgrade. */
class UpgradeReply implements Reply {
  readonly #socket: Duplex;
  readonly record: RequestRecord;
  /** Its answers close the connection in any case. */
  refuse(): void {}
  started = false;
  constructor(socket: Duplex, record: RequestRecord) {
    this.#socket = socket;
    this.record = record;
    const { bytesRead, bytesWritten } = socket as Socket;
    socket.once('close', () => {
      if (record.status === 101) {
        record.bytesIn = (socket as Socket).bytesRead - bytesRead;
        record.bytesOut = (socket as Socket).bytesWritten - bytesWritten;
      }
      record.end(record.status === 0 ? 'canceled' : record.outcome);
    });
  }
  head(status: number, headers: string[]): void {
    this.started = true;
    this.record.answered(status);
    let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nConnection: close\r\n`;
    for (let i = 0; i < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`;
    this.#socket.write(`${text}\r\n`, 'latin1');
  }
  write(chunk: Buffer): boolean {
    this.record.bytesOut += chunk.length;
    return this.#socket.write(chunk);
  }
  end(chunk?: Buffer | string): void {
    if (chunk) this.record.bytesOut += chunk.length;
    this.#socket.end(chunk);
  }
  onDrain(handler: () => void): void {
    this.#socket.on('drain', handler);
  }
  onGone(handler: () => void): void {
    this.#socket.on('close', handler);
  }
  get gone(): boolean {
    return this.#socket.destroyed;
  }
  cut(): void {
    this.#socket.destroy();
  }
}
