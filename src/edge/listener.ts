/**
 * The sockets of the edge: HTTP/1.1 in the clear, and TLS with HTTP/2 and HTTP/1.1 by ALPN. Every edge process listens on the same ports
 * (SO_REUSEPORT): the kernel spreads connections over them.
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
import type { AddressInfo } from 'node:net';
import { createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';
import { log, reason } from '../model/log.ts';
import { type Edge, handleHttp1, handleHttp2, handleUpgrade } from './handle.ts';
import { hostOf } from './headers.ts';
import { LISTENER_LIMITS } from './limits.ts';
import { isWebSocket } from './websocket.ts';

const DRAIN_SWEEP_MS = 50;
const CERTIFICATE_TIMEOUT_MS = 5_000;
/** How long a certificate is used before the supervisor is asked again, which renews it in time. */
const CERTIFICATE_AGE_MS = 12 * 3_600_000;

export interface Listeners {
  /** The ports that are bound: those of the settings, or what the system chose for 0. */
  httpPort: number;
  httpsPort: number;
  /** Accepts no more connections and resolves when all are done or `graceMs` is over. */
  close(graceMs: number): Promise<void>;
}

/** Listens on the settings' address and ports. Throws if a port is taken by somebody else. */
export async function listen(edge: Edge): Promise<Listeners> {
  const { listen: host, httpPort, httpsPort } = edge.settings;
  const plain = createPlain(edge);
  const secure = createSecure(edge);
  const sessions = new Set<Http2Session>();
  secure.on('session', (session: Http2Session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
  });
  await Promise.all([
    bind(plain, { host, port: httpPort, reusePort: true }),
    bind(secure, { host, port: httpsPort, reusePort: true }),
  ]);
  return {
    httpPort: (plain.address() as AddressInfo).port,
    httpsPort: (secure.address() as AddressInfo).port,
    async close(graceMs) {
      edge.draining = true;
      const closed = Promise.all([
        new Promise((resolve) => plain.close(resolve)),
        new Promise((resolve) => secure.close(resolve)),
      ]);
      for (const session of sessions) session.close();
      // A connection may become idle at any time: its last answer may have been under way when the stop came.
      const sweep = setInterval(() => {
        plain.closeIdleConnections();
        secure.closeIdleConnections();
      }, DRAIN_SWEEP_MS);
      const timer = setTimeout(() => {
        plain.closeAllConnections();
        for (const session of sessions) session.destroy();
      }, graceMs);
      await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, graceMs + 500).unref())]);
      clearTimeout(timer);
      clearInterval(sweep);
    },
  };
}

function createPlain(edge: Edge): Server {
  const server = createServer(httpOptions(), (request, response) => handleHttp1(edge, request, response));
  configure(edge, server);
  return server;
}

/** With `allowHTTP1`, Node's secure server has these of its HTTP/1.1 server; its types do not say so. */
type SecureServer = Http2SecureServer &
  Pick<Server, 'closeIdleConnections' | 'headersTimeout' | 'requestTimeout' | 'keepAliveTimeout'>;

function createSecure(edge: Edge): SecureServer {
  const certificates = new Certificates(edge);
  const server = createSecureServer(
    {
      ...httpOptions(),
      allowHTTP1: true,
      minVersion: 'TLSv1.2',
      honorCipherOrder: true,
      ciphers: [
        'TLS_AES_128_GCM_SHA256',
        'TLS_AES_256_GCM_SHA384',
        'TLS_CHACHA20_POLY1305_SHA256',
        'ECDHE-ECDSA-AES128-GCM-SHA256',
        'ECDHE-ECDSA-CHACHA20-POLY1305',
        'ECDHE-ECDSA-AES256-GCM-SHA384',
      ].join(':'),
      handshakeTimeout: LISTENER_LIMITS.handshakeTimeoutMs,
      maxHeaderListPairs: 2 * LISTENER_LIMITS.headerCount,
      settings: { maxConcurrentStreams: LISTENER_LIMITS.http2StreamsPerConnection },
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
  Object.assign(server, http1Options());
  server.on('session', (session) => session.setTimeout(LISTENER_LIMITS.idleTimeoutMs, () => session.close()));
  server.on('sessionError', (error) => log('debug', 'an HTTP/2 session failed', { error: reason(error) }));
  server.on('tlsClientError', (error: Error, socket: TLSSocket) => {
    log('debug', 'a TLS handshake failed', { error: error.message });
    socket.destroy();
  });
  configure(edge, server as unknown as Server);
  return server;
}

function httpOptions() {
  return {
    maxHeaderSize: LISTENER_LIMITS.headerBytes,
    headersTimeout: LISTENER_LIMITS.headersTimeoutMs,
    // Uploads may take as long as they make progress.
    requestTimeout: 0,
    keepAliveTimeout: LISTENER_LIMITS.idleTimeoutMs,
    insecureHTTPParser: false,
    requireHostHeader: true,
    noDelay: true,
    shouldUpgradeCallback: isWebSocket,
  };
}

/** The options that are also properties of a server. */
function http1Options() {
  const { headersTimeout, requestTimeout, keepAliveTimeout, shouldUpgradeCallback } = httpOptions();
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

function bind(
  server: Server | Http2SecureServer,
  options: { host: string; port: number; reusePort: boolean },
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options, () => {
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
    if (this.#contexts.size > LISTENER_LIMITS.certificates) this.#contexts.delete(this.#contexts.keys().next().value!);
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
