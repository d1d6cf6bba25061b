/**
 * The way to an origin: where the URL of a subrequest leads, and the connection to it. Hosts that this machine serves itself
 * are reached through the local edge, as any client would; all others only at addresses that `addresses.ts` allows.
 */
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { Agent, buildConnector } from 'undici';
import type { Addresses } from './addresses.ts';

/** Times as at Cloudflare (https://developers.cloudflare.com/fundamentals/reference/connection-limits/), in ms. */
const CONNECT_TIMEOUT_MS = 19_000;
const HEADERS_TIMEOUT_MS = 120_000;
const IDLE_TIMEOUT_MS = 900_000;
const KEEP_ALIVE_MS = 4_000;
const CONNECTIONS_PER_ORIGIN = 256;
const MAX_HEADER_BYTES = 128 * 1024;

/** The local edge: where its listeners are, and which hosts it answers for. */
export interface LocalEdge {
  address: string;
  httpPort: number;
  httpsPort: number;
  isServedHere(hostname: string): boolean;
}

export interface Origin {
  /** Keep-alive connections of one Worker; shared with no other. */
  readonly agent: Agent;
  /** A TCP connection for connect(). Emits an error as any socket; throws AddressRefused for a private address. */
  tcp(hostname: string, port: number): Socket;
  /** A connection of its own for an upgrade, with TLS if the URL says so. */
  open(url: URL): Socket;
  close(): Promise<void>;
}

export function createOrigin(addresses: Addresses, edge: LocalEdge, ca?: string): Origin {
  const { lookup } = addresses;
  const common = { timeout: CONNECT_TIMEOUT_MS, lookup, ...(ca && { ca }) };
  const outside = buildConnector(common);
  // The local edge's certificate is of the operator's own making; the connection does not leave the machine.
  const inside = buildConnector({ timeout: CONNECT_TIMEOUT_MS, rejectUnauthorized: false });

  /** Only the ports that clients use: another port of a host served here is somebody else's service. */
  function isLocal(hostname: string, port: number): boolean {
    return [80, 443, edge.httpPort, edge.httpsPort].includes(port) && edge.isServedHere(hostname);
  }

  const agent = new Agent({
    connect(options, callback) {
      try {
        const secure = options.protocol === 'https:';
        if (isLocal(options.hostname, Number(options.port) || (secure ? 443 : 80))) {
          const port = String(secure ? edge.httpsPort : edge.httpPort);
          inside({ ...options, hostname: edge.address, port, servername: options.hostname }, callback);
          return;
        }
        addresses.checkLiteral(options.hostname);
        outside(options, callback);
      } catch (error) {
        callback(error as Error, null);
      }
    },
    connections: CONNECTIONS_PER_ORIGIN,
    pipelining: 1,
    headersTimeout: HEADERS_TIMEOUT_MS,
    bodyTimeout: IDLE_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    maxHeaderSize: MAX_HEADER_BYTES,
  });

  function bounded(socket: Socket): Socket {
    const timer = setTimeout(
      () => socket.destroy(Object.assign(new Error('connection timed out'), { code: 'ETIMEDOUT' })),
      CONNECT_TIMEOUT_MS,
    );
    for (const event of ['connect', 'close']) socket.once(event, () => clearTimeout(timer));
    return socket;
  }

  return {
    agent,
    tcp(hostname, port) {
      const host = bare(hostname);
      addresses.checkLiteral(host);
      return bounded(connectTcp({ host, port, lookup, allowHalfOpen: true }));
    },
    open(url) {
      const secure = url.protocol === 'https:';
      const port = Number(url.port) || (secure ? 443 : 80);
      const host = bare(url.hostname);
      const local = isLocal(host, port);
      if (!local) addresses.checkLiteral(host);
      const target = local
        ? { host: edge.address, port: secure ? edge.httpsPort : edge.httpPort }
        : { host, port, lookup };
      if (!secure) return bounded(connectTcp(target));
      const servername = /^[\d.]+$|:/.test(host) ? '' : host;
      return bounded(
        connectTls({
          ...target,
          servername,
          ALPNProtocols: ['http/1.1'],
          rejectUnauthorized: !local,
          ...(ca && !local && { ca }),
        }),
      );
    },
    close: () => agent.destroy(),
  };
}

/** `[::1]` of a URL -> `::1`. */
function bare(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, '');
}
