/**
 * HTTP/1.1 client of one isolate process, over its unix socket. General clients cost a third of the edge's whole throughput, so
 * this small one does only what the hot path needs: keep-alive connections with one request each at a time, a head that is
 * written as one string, bodies streamed both ways with back-pressure.
 */
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { ResponseParser } from './response-parser.ts';

/** Connections that one edge process opens to one isolate process at most; each carries one request. */
const MAX_CONNECTIONS = 4096;
/** workerd closes idle connections after 5 s; ours are not reused after this time, so that no request meets the closing. */
const MAX_IDLE_MS = 3_000;

/** What went wrong with a request before or while it was answered. */
export class UpstreamError extends Error {
  override name = 'UpstreamError';
  /**
   * `connect`: no byte reached the process, nor was one taken of the request's body. `lost`: the process may have seen it. `bad`: its answer
   * was no HTTP. `busy`: too many. `eyeball`: the request's own body broke off.
   * `tooLarge`: it is longer than it may be.
   */
  readonly kind: 'connect' | 'lost' | 'bad' | 'busy' | 'eyeball' | 'tooLarge';
  /** The connection had served a request before: the process may have closed it for idleness in the same moment. */
  readonly reused: boolean;
  constructor(kind: UpstreamError['kind'], message: string, reused = false) {
    super(message);
    this.kind = kind;
    this.reused = reused;
  }
}

export interface ExchangeHandler {
  onHead(status: number, statusText: string, headers: string[]): void;
  /** Returns false when the receiver is full: no more until `resume()`. `last`: onEnd follows at once. */
  onData(chunk: Buffer, last: boolean): boolean;
  onEnd(): void;
  /** Called at most once, instead of onEnd. */
  onError(error: UpstreamError): void;
}

/** A request's body: `length` in bytes if it is known, else it is sent in chunks. */
export interface Body {
  stream: Readable;
  length: number | null;
  maxBytes: number;
  /** Learns how much was sent. */
  counter: { bytesIn: number };
}

export interface Exchange {
  resume(): void;
  /** The eyeball is gone: the process sees its connection end. No callback follows. */
  abort(): void;
}

export class IsolateClient {
  readonly #path: string;
  readonly #idle: Connection[] = [];
  readonly #all = new Set<Connection>();

  constructor(path: string) {
    this.#path = path;
  }

  /** Sends a request. `head` is the whole head in latin1 with its empty line, framing headers included. */
  send(method: string, head: string, body: Body | null, handler: ExchangeHandler): Exchange {
    const connection = this.#take();
    if (!connection) {
      queueMicrotask(() => handler.onError(new UpstreamError('busy', `more than ${MAX_CONNECTIONS} open requests`)));
      return { resume() {}, abort() {} };
    }
    connection.send(method, head, body, handler);
    return connection;
  }

  /** Ends the idle connections; requests under way end as they would. */
  close(): void {
    for (const connection of this.#idle.splice(0)) connection.destroy();
  }

  #take(): Connection | null {
    const now = Date.now();
    for (let connection = this.#idle.pop(); connection; connection = this.#idle.pop()) {
      if (!connection.usable) continue;
      if (now - connection.idleSince < MAX_IDLE_MS) return connection;
      // The last one in is the youngest: all others are older.
      connection.destroy();
      for (const older of this.#idle.splice(0)) older.destroy();
    }
    if (this.#all.size >= MAX_CONNECTIONS) return null;
    const created = new Connection(
      this.#path,
      (free) => this.#idle.push(free),
      (closed) => this.#all.delete(closed),
    );
    this.#all.add(created);
    return created;
  }
}

/**
 * A process that answers without reading the request's body closes at once, and its answer waits in our receive buffer. Node would
 * throw that away when the next piece of the body cannot be written; here only the sending ends.
 */
class IsolateSocket extends Socket {
  /** Set while a body is sent: takes the failure of its writes. */
  onUnwritable: (() => void) | null = null;

  override _write(chunk: unknown, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    super._write(chunk, encoding, this.onUnwritable ? this.#tolerate(done) : done);
  }

  override _writev(chunks: { chunk: unknown; encoding: BufferEncoding }[], done: (error?: Error | null) => void): void {
    super._writev!(chunks, this.onUnwritable ? this.#tolerate(done) : done);
  }

  #tolerate(done: (error?: Error | null) => void): (error?: (Error & { code?: string }) | null) => void {
    return (error) => {
      const closed = error?.code === 'EPIPE' || error?.code === 'ECONNRESET';
      // Null if the body has ended meanwhile: then all of it was handed over, and the answer tells how it went.
      if (closed) this.onUnwritable?.();
      done(closed ? null : error);
    };
  }
}

class Connection implements Exchange {
  idleSince = 0;
  readonly #socket = new IsolateSocket();
  readonly #free: (connection: Connection) => void;
  #connected = false;
  #served = 0;
  #handler: ExchangeHandler | null = null;
  #parser: ResponseParser | null = null;
  #body: Body | null = null;
  #bodyDone = true;

  constructor(path: string, free: (connection: Connection) => void, closed: (connection: Connection) => void) {
    this.#free = free;
    this.#socket.connect(path);
    this.#socket.on('connect', () => {
      this.#connected = true;
    });
    this.#socket.on('data', (bytes: Buffer) => this.#onBytes(bytes));
    this.#socket.on('end', () => this.#onClosed());
    this.#socket.on('error', (error) => this.#fail(this.#connected ? 'lost' : 'connect', error.message));
    this.#socket.on('close', () => {
      this.#onClosed();
      closed(this);
    });
  }

  get usable(): boolean {
    return !this.#socket.destroyed && this.#socket.writable;
  }

  send(method: string, head: string, body: Body | null, handler: ExchangeHandler): void {
    this.#handler = handler;
    this.#parser = new ResponseParser(method, {
      onHead: (status, text, headers) => this.#handler?.onHead(status, text, headers),
      onData: (chunk, last) => {
        if (this.#handler?.onData(chunk, last) === false) this.#socket.pause();
      },
      onEnd: (reusable) => this.#onEnd(reusable),
    });
    if (!body) {
      this.#socket.write(head, 'latin1');
      return;
    }
    const begin = () => {
      // What is there of the body already goes with the head: a process that has all of it keeps the connection.
      this.#socket.cork();
      this.#socket.write(head, 'latin1');
      this.#sendBody(body);
      process.nextTick(() => this.#socket.uncork());
    };
    // A body cannot be read twice: it waits for the connection, so that the request can go elsewhere if there is none.
    if (this.#connected) begin();
    else this.#socket.once('connect', begin);
  }

  resume(): void {
    this.#socket.resume();
  }

  abort(): void {
    this.#handler = null;
    this.destroy();
  }

  destroy(): void {
    this.#stopBody();
    this.#socket.destroy();
  }

  #sendBody(body: Body): void {
    const { stream, length, maxBytes, counter } = body;
    const socket = this.#socket;
    let sent = 0;
    this.#body = body;
    this.#bodyDone = false;
    const onDrain = () => stream.resume();
    const onData = (chunk: Buffer) => {
      sent += chunk.length;
      counter.bytesIn = sent;
      if (sent > maxBytes) return this.#fail('tooLarge', `the body is longer than ${maxBytes} bytes`);
      // More than was announced would be read as the next request.
      if (length !== null && sent > length) return this.#fail('eyeball', 'the body is longer than its Content-Length');
      let room: boolean;
      if (length === null) {
        socket.cork();
        socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1');
        socket.write(chunk);
        room = socket.write('\r\n', 'latin1');
        socket.uncork();
      } else room = socket.write(chunk);
      if (!room) stream.pause();
    };
    const onEnd = () => {
      if (length !== null && sent < length) return this.#fail('eyeball', 'the body is shorter than its Content-Length');
      if (length === null) socket.write('0\r\n\r\n', 'latin1');
      this.#stopBody();
      this.#bodyDone = true;
    };
    const onBroken = () => {
      if (!this.#bodyDone) this.#fail('eyeball', 'the request body ended early');
    };
    if (stream.destroyed) {
      onBroken();
      return;
    }
    socket.onUnwritable = () => {
      this.#body?.stream.resume();
      this.#stopBody();
    };
    socket.on('drain', onDrain);
    stream.on('data', onData).on('end', onEnd).on('close', onBroken).on('error', onBroken);
    this.#detachBody = () => {
      socket.off('drain', onDrain);
      stream.off('data', onData).off('end', onEnd).off('close', onBroken);
    };
  }

  #detachBody: (() => void) | null = null;

  #stopBody(): void {
    this.#detachBody?.();
    this.#detachBody = null;
    this.#socket.onUnwritable = null;
    this.#body = null;
  }

  #onBytes(bytes: Buffer): void {
    if (!this.#parser) {
      // Bytes that nobody asked for.
      this.destroy();
      return;
    }
    try {
      this.#parser.push(bytes);
    } catch (error) {
      this.#fail('bad', error instanceof Error ? error.message : String(error));
    }
  }

  #onEnd(reusable: boolean): void {
    const handler = this.#handler;
    this.#handler = null;
    this.#parser = null;
    this.#served++;
    // Answered before the whole body was read: the rest cannot be followed by another request.
    const clean = reusable && this.#bodyDone;
    if (!clean) {
      this.#body?.stream.resume();
      this.destroy();
    } else {
      this.idleSince = Date.now();
      this.#socket.resume();
      this.#free(this);
    }
    handler?.onEnd();
  }

  #onClosed(): void {
    if (!this.#handler) {
      this.#socket.destroy();
      return;
    }
    if (!this.#parser?.end()) this.#fail(this.#connected ? 'lost' : 'connect', 'the process closed the connection');
  }

  #fail(kind: UpstreamError['kind'], message: string): void {
    const handler = this.#handler;
    this.#handler = null;
    this.#parser = null;
    // What is left of the body is read and dropped: the eyeball may read the answer only when it has sent all.
    this.#body?.stream.resume();
    this.destroy();
    handler?.onError(new UpstreamError(kind, message, this.#served > 0));
  }
}
