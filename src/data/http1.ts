/** HTTP/1.1 to origins: Node's client, with connections that stay open for a while and are shared by the requests of one Worker. */
import { Agent, type ClientRequest, type ClientRequestArgs, request } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Connector } from './connector.ts';
import type { Destination } from './destination.ts';
import { keyOf, type OriginHandler, type OriginRequest, TRANSPORT_LIMITS } from './exchange.ts';

type Options = ClientRequestArgs & { destination: Destination };
type Done = (error: Error | null, stream: Duplex) => void;

export class Http1 extends Agent {
  readonly #connector: Connector;
  /** Connections made to learn the protocol, which no request has yet. */
  readonly #spares = new Map<string, Socket>();

  readonly #waitMs: number;

  /** `connections`: to one destination at a time; further requests wait for one of them, at most for `waitMs`. */
  constructor(
    connector: Connector,
    connections: number = TRANSPORT_LIMITS.connectionsPerOrigin,
    waitMs: number = TRANSPORT_LIMITS.waitMs,
  ) {
    super({
      keepAlive: true,
      maxSockets: connections,
      maxTotalSockets: TRANSPORT_LIMITS.connections,
      maxFreeSockets: TRANSPORT_LIMITS.idlePerOrigin,
      scheduling: 'lifo',
      timeout: TRANSPORT_LIMITS.keepAliveMs,
    });
    this.#connector = connector;
    this.#waitMs = waitMs;
  }

  /** Sends one request. Its body, if it has one, is written to what `onSending` gets. */
  send(destination: Destination, { method, path, headers, hasBody }: OriginRequest, handler: OriginHandler): void {
    const head = ['Host', destination.authority, ...headers];
    const lengthless = !head.some((item, index) => index % 2 === 0 && item.toLowerCase() === 'content-length');
    if (hasBody && lengthless) head.push('Transfer-Encoding', 'chunked');
    // RFC 9110, 8.6: methods that expect a body say that there is none.
    if (!hasBody && lengthless && /^(POST|PUT|PATCH)$/.test(method)) head.push('Content-Length', '0');
    let outgoing: ClientRequest;
    try {
      outgoing = request({
        agent: this,
        destination,
        method,
        path,
        setHost: false,
        headers: head,
        maxHeaderSize: TRANSPORT_LIMITS.headerBytes,
        timeout: TRANSPORT_LIMITS.idleMs,
      } as Options);
    } catch (error) {
      handler.onError(error, false);
      return;
    }
    let answered = false;
    const fail = (error: NodeJS.ErrnoException) => {
      if (answered) return;
      answered = true;
      handler.onError(error, outgoing.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE'));
    };
    outgoing.on('error', fail);
    if ((this.requests[keyOf(destination)]?.length ?? 0) > 0) this.#boundWait(outgoing, fail);
    outgoing.on('timeout', () => outgoing.destroy(timedOut()));
    outgoing.on('response', (response) => {
      answered = true;
      // `complete` is false when the connection ended before the body did.
      const isWhole = () => response.complete;
      handler.onResponse(
        response.statusCode ?? 0,
        response.statusMessage ?? '',
        response.rawHeaders,
        response,
        isWhole,
      );
    });
    const sending = { stream: outgoing, cancel: () => void outgoing.destroy() };
    if (hasBody) {
      // The head goes out before the first byte of the body. Not flushHeaders(): that encodes it as UTF-8, and values are bytes (latin1).
      outgoing.write(Buffer.alloc(0));
      handler.onSending(sending);
    } else {
      handler.onSending(sending);
      outgoing.end();
    }
  }

  #boundWait(outgoing: ClientRequest, fail: (error: Error) => void): void {
    const timer = setTimeout(() => {
      // A request without a connection emits no error when it is destroyed.
      outgoing.destroy();
      fail(Object.assign(new Error('too many connections to this origin are in use'), { code: 'ETIMEDOUT' }));
    }, this.#waitMs);
    outgoing.once('socket', () => clearTimeout(timer));
  }

  /** A connection that turned out to speak HTTP/1.1 is used for the next request to its destination. */
  adopt(destination: Destination, socket: Socket): void {
    const key = keyOf(destination);
    this.#spares.get(key)?.destroy();
    this.#spares.set(key, socket);
    const forget = () => {
      if (this.#spares.get(key) === socket) this.#spares.delete(key);
    };
    socket.once('close', forget);
    socket.on('error', () => socket.destroy());
    socket.setTimeout(TRANSPORT_LIMITS.keepAliveMs, () => {
      if (this.#spares.get(key) === socket) socket.destroy();
    });
  }

  override getName(options?: ClientRequestArgs): string {
    return options ? keyOf((options as Options).destination) : '';
  }

  /** Returns the socket while it still connects, so that the agent counts it. What is refused at once goes to the request. */
  override createConnection(options: ClientRequestArgs, callback?: Done): Socket | null {
    const { destination } = options as Options;
    const key = keyOf(destination);
    const spare = this.#spares.get(key);
    if (spare) {
      this.#spares.delete(key);
      return spare.setTimeout(0);
    }
    try {
      return this.#connector.open(destination, ['http/1.1']);
    } catch (error) {
      callback?.(error as Error, null as unknown as Duplex);
      return null;
    }
  }

  close(): void {
    for (const socket of this.#spares.values()) socket.destroy();
    this.destroy();
  }
}

function timedOut(): Error {
  return Object.assign(new Error('nothing was sent or received for too long'), { code: 'SELVEDGE_IDLE' });
}
