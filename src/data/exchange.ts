/** One request to an origin and its answer, as `http1.ts` and `http2.ts` both serve it, and the limits that they share. */
import type { ClientRequest } from 'node:http';
import type { ClientHttp2Stream } from 'node:http2';
import type { Readable } from 'node:stream';
import type { Destination } from './destination.ts';
import type { Meter } from './egress-meter.ts';

/** Times in ms, sizes in bytes; of one isolate process. Idle time as at Cloudflare (connection limits). */
export const TRANSPORT_LIMITS = {
  connections: 1024,
  connectionsPerOrigin: 256,
  idlePerOrigin: 32,
  /** For a connection when all that an origin may have are in use; as long as for making one. */
  waitMs: 19_000,
  keepAliveMs: 4_000,
  idleMs: 900_000,
  headerBytes: 128 * 1024,
  headerPairs: 512,
  /** HTTP/2 connections to one origin, and requests at once on each. */
  sessionsPerOrigin: 8,
  streamsPerSession: 100,
} as const;

/** A subrequest that was admitted. */
export interface Subrequest {
  url: URL;
  destination: Destination;
  /** Those of `toOrigin`: names and values in turn. */
  headers: string[];
  /** Of the Worker; bytes of what stays on this machine are not counted. */
  meter: Meter;
}

export interface OriginRequest {
  method: string;
  /** Path and query. */
  path: string;
  /** Names and values in turn, without Host and without what belongs to one connection. */
  headers: string[];
  hasBody: boolean;
}

/** A request on its way: its body is written here. */
export interface Outgoing {
  readonly stream: ClientRequest | ClientHttp2Stream;
  /** The Worker does not want the answer any more. */
  cancel(): void;
}

export interface OriginHandler {
  /** The request is on its way: its body (if any) is to be written to `outgoing.stream`. */
  onSending(outgoing: Outgoing): void;
  /** The head of the final answer. `isWhole` says, when the body has ended, whether that was its end or the connection's. */
  onResponse(status: number, message: string, rawHeaders: string[], body: Readable, isWhole: () => boolean): void;
  /** No answer. `repeatable`: on a kept connection that the origin may have left in the same moment, or refused unseen. */
  onError(error: unknown, repeatable: boolean): void;
}

/** Requests with the same key may share a connection. */
export function keyOf({ local, secure, host, port, servername, refuseSelf }: Destination): string {
  return `${local ? 'edge' : refuseSelf ? 'own' : 'out'}|${secure}|${host}|${port}|${secure ? servername : ''}`;
}
