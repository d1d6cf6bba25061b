/** Connections outward: to checked addresses only, or to this machine's own edge. The one place that opens sockets for Workers. */
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { type Addresses, AddressRefused } from './addresses.ts';
import type { Destination } from './destination.ts';
import { type IsSelf, LeadsToSelf, lookupWithoutSelf } from './self.ts';

/** As at Cloudflare (https://developers.cloudflare.com/fundamentals/reference/connection-limits/); with the TLS handshake. */
const CONNECT_TIMEOUT_MS = 19_000;
const KEEP_ALIVE_PROBE_MS = 30_000;

export interface Connector {
  /**
   * A TCP connection for connect(). Emits an error as any socket; throws AddressRefused for a private address and LeadsToSelf for this
   * machine's own edge.
   */
  tcp(host: string, port: number): Socket;
  /** A connection for HTTP, with TLS if the destination has it: usable after `connect`, or `secureConnect`. Throws as `tcp`. */
  open(destination: Destination, protocols: readonly string[]): Socket | TLSSocket;
}

/** `ca`: PEM of authorities that origins may use instead of the system's. */
export function createConnector(addresses: Addresses, isSelf: IsSelf, ca?: string): Connector {
  /** What sockets need to connect to a checked address only. A literal address is not looked up, so it is checked here. */
  function target(host: string, port: number, refuseSelf: boolean) {
    addresses.checkLiteral(host);
    if (refuseSelf && isIP(host) && isSelf(host, port)) throw new LeadsToSelf(`${host} is this machine's own edge`);
    const lookup = refuseSelf ? lookupWithoutSelf(addresses.lookup, isSelf, port) : addresses.lookup;
    return { host, port, lookup, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS };
  }

  return {
    tcp: (host, port) => bounded(connectTcp({ ...target(host, port, true), allowHalfOpen: true }), 'connect'),
    open({ local, secure, host, port, servername, refuseSelf }, protocols) {
      const where = local ? { host, port, noDelay: true } : target(host, port, refuseSelf);
      if (!secure) return bounded(connectTcp(where), 'connect');
      const tls = {
        ...where,
        servername,
        ALPNProtocols: [...protocols],
        rejectUnauthorized: !local,
        ...(ca && !local && { ca }),
      };
      return bounded(connectTls(tls), 'secureConnect');
    },
  };
}

/** Was the connection refused by a rule, and not by the network? */
export function isRefusal(error: unknown): error is AddressRefused | LeadsToSelf {
  return error instanceof AddressRefused || error instanceof LeadsToSelf;
}

function bounded<S extends Socket>(socket: S, ready: 'connect' | 'secureConnect'): S {
  const timer = setTimeout(
    () => socket.destroy(Object.assign(new Error('connection timed out'), { code: 'ETIMEDOUT' })),
    CONNECT_TIMEOUT_MS,
  );
  for (const event of [ready, 'close']) socket.once(event, () => clearTimeout(timer));
  return socket;
}
