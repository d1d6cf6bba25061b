/** The answer to an eyeball, the same for HTTP/1.1 and HTTP/2: status and raw headers, then bytes with back-pressure. */
import type { ServerResponse } from 'node:http';
import type { ServerHttp2Stream } from 'node:http2';
import type { Outcome, RequestRecord } from './record.ts';

export interface Reply {
  /** Learns status, size and end of the answer. */
  readonly record: RequestRecord;
  /** Has the head been sent? */
  readonly started: boolean;
  /** `headers`: names and values in turn, repeated names allowed. */
  head(status: number, headers: string[]): void;
  /** Returns false when the eyeball is slow: wait for `onDrain`. */
  write(chunk: Buffer): boolean;
  end(chunk?: Buffer | string): void;
  onDrain(handler: () => void): void;
  /** The eyeball is gone before the end. */
  onGone(handler: () => void): void;
  /** Nothing more is taken from this connection: what follows on it cannot be told from what was wrong. */
  refuse(): void;
  /** Has it gone already? Then `onGone` is too late. */
  readonly gone: boolean;
  /** Cuts the connection (HTTP/1.1) or the stream (HTTP/2): the answer cannot be completed. */
  cut(): void;
}

/** Set by Node at the last request of `maxRequestsPerSocket`. */
interface LastRequest {
  maxRequestsOnConnectionReached: boolean;
}

/** Node's writes of text up to this size go through the stack. */
const SMALL_BYTES = 16 * 1024;

const refused = new WeakSet<object>();

/** Was a request of this connection refused? Those behind it may be parsed already (pipelining). */
export function isRefused(socket: object): boolean {
  return refused.has(socket);
}

export class Http1Reply implements Reply {
  readonly #response: ServerResponse;
  readonly #edge: { readonly draining: boolean };
  #refused = false;
  readonly record: RequestRecord;
  constructor(response: ServerResponse, edge: { readonly draining: boolean }, record: RequestRecord) {
    this.#response = response;
    this.#edge = edge;
    this.record = record;
  }
  get started(): boolean {
    return this.#response.headersSent;
  }
  refuse(): void {
    this.#refused = true;
    if (this.#response.socket) refused.add(this.#response.socket);
  }
  head(status: number, headers: string[]): void {
    // A process that stops asks for no more requests on this connection.
    // Node announces the last request of a connection, but leaves closing to the client.
    const { maxRequestsOnConnectionReached: last } = this.#response as ServerResponse & LastRequest;
    if (this.#edge.draining || last || this.#refused) this.#response.shouldKeepAlive = false;
    this.record.answered(status);
    this.#response.writeHead(status, headers);
  }
  write(chunk: Buffer): boolean {
    this.record.bytesOut += chunk.length;
    return this.#response.write(chunk);
  }
  end(chunk?: Buffer | string): void {
    // Node writes head and body at once, in one system call without a copy more, only if both are text.
    if (chunk instanceof Buffer && chunk.length <= SMALL_BYTES) this.#response.end(chunk.toString('latin1'), 'latin1');
    else this.#response.end(chunk);
    if (chunk) this.record.bytesOut += chunk.length;
    this.record.end();
  }
  onDrain(handler: () => void): void {
    this.#response.on('drain', handler);
  }
  onGone(handler: () => void): void {
    this.#response.on('close', () => {
      if (this.#response.writableFinished) return;
      this.record.end('canceled');
      handler();
    });
  }
  get gone(): boolean {
    return this.#response.destroyed;
  }
  cut(): void {
    this.record.end(broken(this.record));
    this.#response.destroy();
  }
}

/** Headers of the connection, which HTTP/2 does not have (RFC 9113, 8.2.2); Node throws at them. */
const NOT_IN_HTTP2 = new Set([
  'connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade', 'te', 'http2-settings',
]); // biome-ignore format: a table

export class Http2Reply implements Reply {
  readonly #stream: ServerHttp2Stream;
  /** Not yet registered. */
  #drained: (() => void) | null = null;
  readonly record: RequestRecord;
  constructor(stream: ServerHttp2Stream, record: RequestRecord) {
    this.#stream = stream;
    this.record = record;
  }
  get started(): boolean {
    return this.#stream.headersSent;
  }
  /** HTTP/2 frames its requests itself: one that is wrong says nothing of the others. */
  refuse(): void {}
  head(status: number, headers: string[]): void {
    this.record.answered(status);
    if (this.gone || this.#stream.headersSent) return;
    const fields = [':status', String(status)];
    for (let i = 0; i < headers.length; i += 2) {
      const name = headers[i]!.toLowerCase();
      if (!NOT_IN_HTTP2.has(name)) fields.push(name, headers[i + 1]!);
    }
    this.#stream.respond(fields);
  }
  write(chunk: Buffer): boolean {
    this.record.bytesOut += chunk.length;
    const room = this.#stream.write(chunk);
    // Most answers never wait.
    if (!room && this.#drained) {
      this.#stream.on('drain', this.#drained);
      this.#drained = null;
    }
    return room;
  }
  end(chunk?: Buffer | string): void {
    this.#stream.end(chunk);
    if (chunk) this.record.bytesOut += chunk.length;
    this.record.end();
  }
  onDrain(handler: () => void): void {
    this.#drained = handler;
  }
  onGone(handler: () => void): void {
    // 'close' waits for the request's body to be read; but Node ends the answer to HEAD from the beginning, and what has ended is not aborted.
    // Behind `end` neither changes anything.
    this.#stream.on(this.#stream.writableEnded ? 'close' : 'aborted', () => {
      this.record.end('canceled');
      handler();
      // Nor is it closed before: what is left of the body goes nowhere.
      this.#stream.resume();
    });
  }
  get gone(): boolean {
    // What is closed without an error is not destroyed before its body is read.
    return this.#stream.destroyed || this.#stream.closed;
  }
  cut(): void {
    this.record.end(broken(this.record));
    // Not close(): that ends the body in order first. With an error the stream is reset with INTERNAL_ERROR (RFC 9113, 7).
    this.#stream.destroy(new Error('the answer broke off'));
  }
}

/** An answer that is cut off is not in order, even if nobody said why. */
function broken({ outcome }: RequestRecord): Outcome {
  return outcome === 'ok' ? 'exception' : outcome;
}
