/**
 * Egress: what a Worker's fetch() and connect() reach. workerd sends HTTP requests with an absolute URL in the request line (as
 * to a proxy), Upgrade for WebSockets and CONNECT for TCP. Here each is admitted, counted and given its destination; `forward.ts`,
 * `upgrade.ts` and `tunnel.ts` take it there.
 *
 * Failures of the origin are responses (origin-errors.ts). Too many subrequests and URLs that are none end the connection
 * without a response, which is the only way to make fetch() throw in the Worker; the reason goes to its tail.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Budget } from './budget.ts';
import type { Connector } from './connector.ts';
import type { Destination } from './destination.ts';
import type { Meter } from './egress-meter.ts';
import type { Subrequest } from './exchange.ts';
import { forward } from './forward.ts';
import { headerValue, MAX_HOPS, toOrigin } from './headers.ts';
import { LOOP } from './origin-errors.ts';
import { sendError } from './reply.ts';
import type { Transport } from './transport.ts';
import { tunnel } from './tunnel.ts';
import { responseOn, upgrade } from './upgrade.ts';

const MAX_HEADER_BYTES = 128 * 1024;
/** In which workerd puts the `cf` object of fetch(): `cfBlobHeader` in `pop/isolates/config.ts`. */
const CF_HEADER = 'selvedge-cf';

export interface EgressOptions {
  connector: Connector;
  transport: Transport;
  budget: Budget;
  meter: Meter;
  /** Where a subrequest goes. */
  destination: (url: URL, resolveOverride: string | undefined) => Destination;
  /** One more subrequest to this machine itself: what ends it, or null if there are too many (a loop). */
  enterSelf: () => (() => void) | null;
  /** Value of CF-Worker, asked for with each request: routes may change. */
  cfWorker: () => string;
  /** An origin that has the whole request has to begin its answer in this time; as at Cloudflare by default. */
  headersTimeoutMs?: number;
  /** Null if the Worker is not traced. */
  trace?:
    | ((
        method: string,
        url: URL,
        destination: Destination,
        headers: string[],
      ) => ((status: number | null) => void) | null)
    | null;
  /** fetch() will throw in the Worker: say why, where its author looks. */
  onRefused: (reason: string) => void;
}

interface Admitted extends Subrequest {
  /** To be called when the subrequest has ended, with the status of its answer, null if there was none. */
  leave: (status: number | null) => void;
}

/** The server of `egress.sock` of one isolate process; the caller lets it listen. */
export function createEgress(options: EgressOptions): Server {
  const { connector, transport, budget, meter } = options;
  // keepAliveTimeout 0: workerd decides how long it keeps connections; closing idle ones would race with its next request.
  const server = createServer({
    requireHostHeader: false,
    keepAliveTimeout: 0,
    requestTimeout: 0,
    maxHeaderSize: MAX_HEADER_BYTES,
  });

  /** Counts a subrequest. False: above what the requests may make. */
  function take(): boolean {
    meter.subrequests++;
    if (budget.take()) return true;
    meter.refused++;
    options.onRefused('Too many subrequests.');
    return false;
  }

  function admit(req: IncomingMessage): Admitted | 'loop' | null {
    const url = httpUrl(req.url);
    if (!url || !take()) return null;
    const { headers, hops } = toOrigin(req.rawHeaders, options.cfWorker());
    const destination = options.destination(url, resolveOverride(req.rawHeaders));
    const leave = destination.local ? options.enterSelf() : () => undefined;
    if (hops <= MAX_HOPS && leave) {
      const traced = options.trace?.(req.method ?? 'GET', url, destination, headers);
      const ended = (status: number | null) => {
        leave();
        traced?.(status);
      };
      return { url, destination, headers, meter, leave: ended };
    }
    leave?.();
    meter.refused++;
    return 'loop';
  }

  /** Goes on when it is known whether there is room for one more subrequest. */
  function settled(then: () => void): void {
    const settling = budget.settle();
    if (settling) void settling.then(() => settled(then));
    else then();
  }

  server.on('request', (req, res) => settled(() => onRequest(req, res)));
  server.on('upgrade', (req, socket, head) => {
    socket.on('error', () => socket.destroy());
    settled(() => onUpgrade(req, socket, head));
  });
  server.on('connect', (req, socket, head) => {
    socket.on('error', () => socket.destroy());
    settled(() => onConnect(req, socket, head));
  });
  return server;

  function onRequest(req: IncomingMessage, res: ServerResponse): void {
    const admitted = admit(req);
    if (!admitted) return void req.socket.destroy();
    if (admitted === 'loop') return void sendError(res, LOOP);
    res.once('close', () => admitted.leave(res.headersSent ? res.statusCode : null));
    forward(transport, admitted, req, res, options.headersTimeoutMs);
  }

  function onUpgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    const admitted = admit(req);
    if (!admitted) return void socket.destroy();
    if (admitted === 'loop') return void sendError(responseOn(req, socket), LOOP);
    let status: number | null = null;
    socket.once('close', () => admitted.leave(status));
    upgrade(connector, admitted, req, socket, head, (answered) => {
      status = answered;
    });
  }

  function onConnect(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    const target = URL.parse(`tcp://${req.url}`);
    const port = Number(target?.port);
    if (!target || !port || !take()) return void socket.destroy();
    tunnel(connector, meter, target.hostname, port, socket, head);
  }
}

function httpUrl(text: string | undefined): URL | null {
  const url = URL.parse(text ?? '');
  return url && (url.protocol === 'http:' || url.protocol === 'https:') ? url : null;
}

/** Of the `cf` object only this counts here; a request that is passed on brings all that the edge said of it. */
function resolveOverride(raw: readonly string[]): string | undefined {
  const text = headerValue(raw, CF_HEADER);
  if (!text?.includes('"resolveOverride"')) return undefined;
  try {
    const { resolveOverride: host } = JSON.parse(text) as { resolveOverride?: unknown };
    return typeof host === 'string' && host !== '' ? host : undefined;
  } catch {
    return undefined;
  }
}
