/**
 * HTTP to origins, 1.1 or 2, whichever the origin's TLS chooses (ALPN, RFC 7301); without TLS it is 1.1. Connections are kept per Worker
 * and per destination, shared with no other Worker; each new one goes to an address that is checked anew (`connector.ts`).
 */
import type { TLSSocket } from 'node:tls';
import { LIMITS } from '../model/limits.ts';
import type { Connector } from './connector.ts';
import type { Destination } from './destination.ts';
import { keyOf, type OriginHandler, type OriginRequest } from './exchange.ts';
import { Http1 } from './http1.ts';
import { Http2 } from './http2.ts';

/** Origins whose protocol is remembered, and for how long. */
const MAX_REMEMBERED = 1024;
const REMEMBERED_MS = 600_000;
/** A request whose connection is gone before it could use it looks for another this often. */
const MAX_TRIES = 3;

export interface Transport {
  /** Sends one request; calls `onResponse` or `onError` once. Nothing is sent if `isGone` says so when a connection is there. */
  send(destination: Destination, request: OriginRequest, handler: OriginHandler, isGone: () => boolean): void;
  /** Closes every connection. */
  close(): void;
}

export function createTransport(connector: Connector): Transport {
  const http1 = new Http1(connector);
  // Whoever waited here for a connection that only the end of another loop's turn frees would wait forever: `loops.ts` says when it is enough.
  const edge = new Http1(connector, LIMITS.openSubrequestsToSelf);
  const http2 = new Http2();
  const http1Origins = new Map<string, number>();
  let closed = false;
  /** One connection at a time finds out what an origin speaks; others wait for it. */
  const asking = new Map<string, Promise<void>>();

  function send(
    destination: Destination,
    request: OriginRequest,
    handler: OriginHandler,
    isGone: () => boolean,
    tries: number,
  ): void {
    const key = keyOf(destination);
    const old = !destination.secure || destination.local || speaksHttp1(key);
    const session = old ? undefined : http2.find(key, tries > 0);
    const pool = destination.local ? edge : http1;
    if (isGone()) handler.onError(new Error('the Worker went away'), false);
    else if (old) pool.send(destination, request, handler);
    else if (session) http2.send(session, destination, request, handler);
    else if (tries === MAX_TRIES) handler.onError(new Error('the origin closes its connections'), false);
    else {
      ask(destination, key).then(
        () => send(destination, request, handler, isGone, tries + 1),
        (error: unknown) => handler.onError(error, false),
      );
    }
  }

  function speaksHttp1(key: string): boolean {
    const until = http1Origins.get(key);
    if (until !== undefined && until < Date.now()) http1Origins.delete(key);
    return http1Origins.has(key);
  }

  function ask(destination: Destination, key: string): Promise<void> {
    const asked = asking.get(key) ?? connect(destination, key).finally(() => asking.delete(key));
    asking.set(key, asked);
    return asked;
  }

  async function connect(destination: Destination, key: string): Promise<void> {
    const socket = connector.open(destination, ['h2', 'http/1.1']) as TLSSocket;
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.once('close', () =>
        reject(Object.assign(new Error('closed in the handshake'), { code: 'ERR_TLS_CLOSED' })),
      );
      socket.once('secureConnect', () => {
        socket.off('error', reject);
        resolve();
      });
    });
    if (closed) socket.destroy(new Error('closed'));
    if (socket.alpnProtocol === 'h2') return http2.adopt(key, socket);
    const [oldest] = http1Origins.keys();
    if (http1Origins.size >= MAX_REMEMBERED && oldest !== undefined) http1Origins.delete(oldest);
    http1Origins.set(key, Date.now() + REMEMBERED_MS);
    http1.adopt(destination, socket);
  }

  return {
    send: (destination, request, handler, isGone) => send(destination, request, handler, isGone, 0),
    close() {
      closed = true;
      http1.close();
      edge.close();
      http2.close();
    },
  };
}
