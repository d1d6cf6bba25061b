/**
 * The servers of the edge: HTTP/1.1 in the clear, and TLS with HTTP/2 and HTTP/1.1 by ALPN. Their sockets are the supervisor's
 * (`pop/sockets.ts`): an edge process inherits the descriptors.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:http';
import {
  createSecureServer,
  type Http2SecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type Http2Session,
} from 'node:http2';
import type { AddressInfo, ListenOptions } from 'node:net';
import { createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';
import { log, reason } from '../model/log.ts';
import { type Edge, handleHttp1, handleHttp2, handleUpgrade } from './handle.ts';
import { hostOf } from './headers.ts';
import { isWebSocket } from './websocket.ts';

const DRAIN_SWEEP_MS = 50;
const CERTIFICATE_TIMEOUT_MS = 5_000;
/** How long a certificate is used before the supervisor is asked again, which renews it in time. */
const CERTIFICATE_AGE_MS = 12 * 3_600_000;

/** Certificates that are kept ready, by server name. */
const MAX_CERTIFICATES = 5_000;

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
  const servers = sources.map(({ scheme }) => {
    if (scheme === 'http') return createPlain(edge);
    const server = createSecure(edge);
    server.on('session', (session: Http2Session) => {
      sessions.add(session);
      session.on('close', () => sessions.delete(session));
    });
    return server;
  });
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
        for (const server of servers) server.closeAllConnections();
        for (const session of sessions) session.destroy();
      }, graceMs);
      await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, graceMs + 500).unref())]);
      clearTimeout(timer);
      clearInterval(sweep);
    },
  };
}

function createPlain(edge: Edge): Server {
  const server = createServer(httpOptions(edge), (request, response) => handleHttp1(edge, request, response));
  configure(edge, server);
  return server;
}

/** With `allowHTTP1`, Node's secure server has these of its HTTP/1.1 server; its types do not say so. */
type SecureServer = Http2SecureServer &
  Pick<
    Server,
    'closeIdleConnections' | 'closeAllConnections' | 'headersTimeout' | 'requestTimeout' | 'keepAliveTimeout'
  >;

function createSecure(edge: Edge): SecureServer {
  const certificates = new Certificates(edge);
  const { limits, tls } = edge.settings;
  const server = createSecureServer(
    {
      ...httpOptions(edge),
      allowHTTP1: true,
      minVersion: tls.minVersion,
      honorCipherOrder: true,
      ciphers: [
        'TLS_AES_128_GCM_SHA256',
        'TLS_AES_256_GCM_SHA384',
        'TLS_CHACHA20_POLY1305_SHA256',
        'ECDHE-ECDSA-AES128-GCM-SHA256',
        'ECDHE-ECDSA-CHACHA20-POLY1305',
        'ECDHE-ECDSA-AES256-GCM-SHA384',
      ].join(':'),
      handshakeTimeout: limits.handshakeTimeoutMs,
      maxHeaderListPairs: 2 * limits.headerCount,
      settings: { maxConcurrentStreams: limits.http2Streams },
      maxSessionMemory: 10,
      SNICallback: (serverName, done) => {
        wakeByName(edge, serverName);
        certificates.of(serverName).then(
          (context) => done(null, context),
          (error: unknown) => done(error instanceof Error ? error : new Error(String(error))),
        );
      },
    },
    (request: Http2ServerRequest | IncomingMessage, response: Http2ServerResponse | ServerResponse) => {
      if (request.httpVersionMajor === 2)
        handleHttp2(edge, request as Http2ServerRequest, response as Http2ServerResponse);
      else handleHttp1(edge, request as IncomingMessage, response as ServerResponse);
    },
  ) as unknown as SecureServer;
  // Node sets these anew behind its own options.
  Object.assign(server, http1Options(edge));
  server.on('session', (session) => session.setTimeout(limits.idleTimeoutMs, () => session.close()));
  server.on('sessionError', (error) => log('debug', 'an HTTP/2 session failed', { error: reason(error) }));
  server.on('tlsClientError', (error: Error, socket: TLSSocket) => {
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
    insecureHTTPParser: false,
    requireHostHeader: true,
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
  server.on('upgrade', (request, socket, early) => handleUpgrade(edge, request, socket, early));
  server.on('connect', (_request, socket) =>
    socket.end('HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'),
  );
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (error.code === 'ECONNRESET' || !socket.writable) return socket.destroy();
    const status = error.code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request';
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

/** The ClientHello names the host: a Worker that sleeps wakes while the handshake goes on. */
function wakeByName(edge: Edge, serverName: string): void {
  const { snapshot } = edge;
  const target = snapshot.routes.find(hostOf(serverName), '/', 'https');
  if (!target) return;
  const shares = snapshot.routes.script(target.accountId, target.script)?.deployment?.versions ?? [];
  for (const id of target.versionId ? [target.versionId] : shares.map(({ versionId }) => versionId)) {
    if (!snapshot.version(id)?.hasCode || snapshot.instances.pick(id)) continue;
    // The request itself will tell the eyeball if it does not start.
    snapshot.instances
      .wake(id)
      .catch((error: unknown) => log('debug', 'not woken by name', { id, error: reason(error) }));
  }
}

/** Certificates by server name, made by the supervisor at first use; the least recently used go first. */
class Certificates {
  readonly #edge: Edge;
  readonly #contexts = new Map<string, { context: Promise<SecureContext>; until: number }>();

  constructor(edge: Edge) {
    this.#edge = edge;
  }

  /** Throws for names that are not served here: the handshake ends with an alert. */
  of(serverName: string): Promise<SecureContext> {
    const name = hostOf(serverName);
    const known = this.#contexts.get(name);
    if (known && known.until > Date.now()) {
      this.#contexts.delete(name);
      this.#contexts.set(name, known);
      return known.context;
    }
    if (!this.#edge.snapshot.routes.serves(name)) return Promise.reject(new Error(`${name} is not served here`));
    const context = this.#make(name);
    context.catch(() => this.#contexts.delete(name));
    this.#contexts.delete(name);
    this.#contexts.set(name, { context, until: Date.now() + CERTIFICATE_AGE_MS });
    if (this.#contexts.size > MAX_CERTIFICATES) this.#contexts.delete(this.#contexts.keys().next().value!);
    return context;
  }

  async #make(serverName: string): Promise<SecureContext> {
    const made = await this.#edge.bus.request(
      'local.certificate',
      { serverName },
      { timeoutMs: CERTIFICATE_TIMEOUT_MS },
    );
    if (!made) throw new Error(`there is no certificate for ${serverName}`);
    return createSecureContext({ cert: made.cert, key: made.key });
  }
}
