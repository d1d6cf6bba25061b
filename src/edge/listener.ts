/**
 * The servers of the edge: HTTP/1.1 in the clear, and TLS with HTTP/2 and HTTP/1.1 by ALPN. Their sockets are the supervisor's
 * (`pop/sockets.ts`): an edge process inherits the descriptors.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:http';
import {
  createSecureServer,
  type Http2SecureServer,
  type Http2Session,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo, ListenOptions, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { log, reason } from '../model/log.ts';
import { type Edge, handleHttp1, handleHttp2, handleUpgrade } from './handle.ts';
import { addressOf, setBehind } from './peer.ts';
import { readProxyHeader } from './proxy-protocol.ts';
import { isRefused } from './reply.ts';
import { Certificates, wakeByName } from './server-names.ts';
import { ciphers, lowestVersion, tooOld } from './tls-versions.ts';
import { isWebSocket } from './websocket.ts';

const DRAIN_SWEEP_MS = 50;
const TICKET_KEYS_TIMEOUT_MS = 5_000;
/**
 * What an HTTP/2 client may send of a body that nobody has read, and thus in one round trip: 64 KiB, the default, are 1.3 MB/s at 50 ms. A
 * connection can make the edge keep as much of each of its streams.
 */
const STREAM_WINDOW_BYTES = 256 * 1024;
/** The same for all streams of a connection together; Node gives it back as soon as bytes have come, so that it bounds no memory. */
const CONNECTION_WINDOW_BYTES = 1024 * 1024;

/** One socket to accept from. `at`: an inherited descriptor, or in tests an address. */
export interface ListenSource {
  scheme: 'http' | 'https';
  proxyProtocol: boolean;
  at: Pick<ListenOptions, 'host' | 'port'> | { fd: number };
}

export interface Listeners {
  /** Port of each source, 0 for unix sockets. */
  ports: number[];
  /** Accepts no more connections and resolves when all are done or `graceMs` is over. */
  close(graceMs: number): Promise<void>;
}

/** Accepts from these sockets. Throws if one cannot be listened on. */
export async function listen(edge: Edge, sources: ListenSource[]): Promise<Listeners> {
  const sessions = new Set<Http2Session>();
  const servers = sources.map(({ scheme, proxyProtocol }) => {
    const server = scheme === 'http' ? createPlain(edge) : createSecure(edge);
    guard(edge, server, proxyProtocol);
    if (scheme === 'https') {
      server.on('session', (session: Http2Session) => {
        sessions.add(session);
        session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
        session.on('close', () => sessions.delete(session));
        edge.connections.watchSession(session);
      });
    }
    return server;
  });
  await shareTickets(edge, servers.filter((_, index) => sources[index]!.scheme === 'https') as SecureServer[]);
  await Promise.all(servers.map((server, index) => bind(server, sources[index]!.at)));
  return {
    ports: servers.map((server) => (server.address() as AddressInfo | null)?.port ?? 0),
    async close(graceMs) {
      edge.draining = true;
      const closed = Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
      for (const session of sessions) session.close();
      // A connection may become idle at any time: its last answer may have been under way when the stop came.
      const sweep = setInterval(() => {
        for (const server of servers) server.closeIdleConnections();
      }, DRAIN_SWEEP_MS);
      const timer = setTimeout(() => {
        edge.connections.destroyAll();
        for (const session of sessions) session.destroy();
      }, graceMs);
      await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, graceMs + 500).unref())]);
      clearTimeout(timer);
      clearInterval(sweep);
    },
  };
}

/** All edge processes have one key for session tickets, the supervisor's. */
async function shareTickets({ bus }: Edge, servers: SecureServer[]): Promise<void> {
  const use = ({ keys }: { keys: string }) => {
    for (const server of servers) server.setTicketKeys(Buffer.from(keys, 'base64'));
  };
  bus.subscribe('local.ticket-keys', use);
  use(await bus.request('local.ticket-keys', {}, { timeoutMs: TICKET_KEYS_TIMEOUT_MS }));
}

/** Before a server gets a connection: is it one too many, and who is behind it? */
function guard(edge: Edge, server: Server | SecureServer, proxyProtocol: boolean): void {
  const { connections, hits, settings, trusted } = edge;
  const handlers = server.listeners('connection') as ((socket: Socket) => void)[];
  server.removeAllListeners('connection');
  const hand = (socket: Socket) => {
    for (const handler of handlers) handler.call(server, socket);
  };
  server.on('connection', (socket: Socket) => {
    const ip = addressOf(socket);
    // No bound of its own for whom many are behind: a load balancer, and this machine itself, from which all Workers' requests come.
    const shared = proxyProtocol || socket.remoteAddress === socket.localAddress || trusted.has(ip);
    if (!connections.admit(socket, ip, shared)) return;
    if (!proxyProtocol) return hand(socket);
    readProxyHeader(socket, settings.limits.handshakeTimeoutMs, (error, behind) => {
      if (error) {
        hits.hit('proxy_protocol');
        log('debug', 'a connection without its PROXY protocol header', { error: error.message });
        socket.destroy();
        return;
      }
      if (behind) setBehind(socket, behind);
      hand(socket);
    });
  });
}

function createPlain(edge: Edge): Server {
  const server = createServer(httpOptions(edge), (request, response) => handleHttp1(edge, request, response));
  configure(edge, server);
  return server;
}

/** With `allowHTTP1`, Node's secure server has these of its HTTP/1.1 server; its types do not say so. */
type SecureServer = Http2SecureServer &
  Pick<Server, 'closeIdleConnections' | 'headersTimeout' | 'requestTimeout' | 'keepAliveTimeout'>;

function createSecure(edge: Edge): SecureServer {
  const certificates = new Certificates(edge);
  const { limits, tls } = edge.settings;
  const server = createSecureServer({
    ...httpOptions(edge),
    allowHTTP1: true,
    minVersion: lowestVersion(tls),
    honorCipherOrder: true,
    ciphers: ciphers(tls),
    handshakeTimeout: limits.handshakeTimeoutMs,
    maxHeaderListPairs: 2 * limits.headerCount,
    settings: { maxConcurrentStreams: limits.http2Streams, initialWindowSize: STREAM_WINDOW_BYTES },
    // A Worker that repeats such a field has its answer passed on as over HTTP/1.1; Node would throw.
    strictSingleValueFields: false,
    maxSessionMemory: 10,
    maxSessionInvalidFrames: 100,
    // Above it nghttp2 ends the session with GOAWAY (CVE-2023-44487).
    streamResetBurst: limits.http2ResetsPerMinute,
    streamResetRate: Math.ceil(limits.http2ResetsPerMinute / 60),
    SNICallback: (serverName, done) => {
      wakeByName(edge, serverName);
      certificates.of(serverName).then(
        (context) => done(null, context),
        (error: unknown) => done(error instanceof Error ? error : new Error(String(error))),
      );
    },
  }) as unknown as SecureServer;
  // Over HTTP/1.1 only: Node's listener, which would make such requests of HTTP/2 streams too, goes.
  server.on('request', (request: IncomingMessage, response: ServerResponse) => handleHttp1(edge, request, response));
  server.removeAllListeners('stream');
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, _flags: number, raw: string[]) =>
    handleHttp2(edge, stream, headers, raw),
  );
  // Node sets these anew behind its own options.
  Object.assign(server, http1Options(edge));
  server.on('sessionError', (error) => log('debug', 'an HTTP/2 session failed', { error: reason(error) }));
  const handlers = server.listeners('secureConnection') as ((socket: TLSSocket) => void)[];
  server.removeAllListeners('secureConnection');
  server.on('secureConnection', (socket: TLSSocket) => {
    if (tooOld(tls, socket)) {
      edge.hits.hit('tls_min_version');
      socket.destroy();
      return;
    }
    for (const handler of handlers) handler.call(server, socket);
  });
  server.on('tlsClientError', (error: Error, socket: TLSSocket) => {
    edge.hits.hit('handshake');
    log('debug', 'a TLS handshake failed', { error: error.message });
    socket.destroy();
  });
  configure(edge, server as unknown as Server);
  return server;
}

function httpOptions({ settings: { limits } }: Edge) {
  return {
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.idleTimeoutMs,
    // How often Node looks for what is too slow.
    connectionsCheckingInterval: Math.min(5_000, Math.ceil(limits.headersTimeoutMs / 4)),
    insecureHTTPParser: false,
    // Refused in readHead, which also ends the connection.
    requireHostHeader: false,
    noDelay: true,
    shouldUpgradeCallback: isWebSocket,
  };
}

/** The options that are also properties of a server. */
function http1Options(edge: Edge) {
  const { headersTimeout, requestTimeout, keepAliveTimeout, shouldUpgradeCallback } = httpOptions(edge);
  return { headersTimeout, requestTimeout, keepAliveTimeout, shouldUpgradeCallback };
}

function configure(edge: Edge, server: Server): void {
  // Node would drop what is too much in silence; handle.ts refuses it. headerBytes bounds both.
  server.maxHeadersCount = 0;
  server.maxRequestsPerSocket = edge.settings.limits.requestsPerConnection;
  server.on('upgrade', (request, socket, early) => handleUpgrade(edge, request, socket, early));
  server.on('connect', (_request, socket) =>
    socket.end('HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'),
  );
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    // Its answer is on the way, and closes the connection.
    if (isRefused(socket)) return;
    if (error.code === 'ECONNRESET' || !socket.writable) return socket.destroy();
    const timedOut = error.code === 'ERR_HTTP_REQUEST_TIMEOUT';
    edge.hits.hit(timedOut ? 'request_timeout_ms' : 'malformed');
    const status = timedOut
      ? '408 Request Timeout'
      : error.code === 'HPE_HEADER_OVERFLOW'
        ? '431 Request Header Fields Too Large'
        : '400 Bad Request';
    socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  });
}

function bind(server: Server | Http2SecureServer, at: ListenSource['at']): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(at, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
