/**
 * Which connections are taken, and which are cut: bounds in all and by address when they come, and progress while an answer or a body is
 * under way. A client has to send and to read; what waits for the Worker is not held against it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2Session, Http2Stream, ServerHttp2Stream } from 'node:http2';
import { isIPv6, type Socket } from 'node:net';
import type { ListenerLimits } from '../model/settings.ts';
import type { LimitHits } from './limit-hits.ts';

const MAX_SWEEP_MS = 5_000;
const MINUTE_MS = 60_000;
/** RFC 9113, 7. */
const CANCEL = 8;
/** For a GOAWAY to go out. */
const GOAWAY_MS = 500;

/** What a sweep looks at: one request that may wait for its client. */
interface Watched {
  /** Is it the client that has to do something? */
  waits(): boolean;
  /** Bytes that went through so far, in a measure of its own. */
  moved(): number;
  cut(): void;
  /** Since when it waits without a pause, and what had moved then; 0 if it does not wait. */
  since: number;
  base: number;
  /** When bytes moved last, and how many there were. */
  last: number;
  lastAt: number;
}

export class Connections {
  readonly #limits: ListenerLimits;
  readonly #hits: LimitHits;
  readonly #max: number;
  readonly #maxPerAddress: number;
  readonly #byAddress = new Map<string, number>();
  /** HTTP/1.1: connection -> its request. */
  readonly #requests = new Map<Socket, Watched>();
  readonly #streams = new Map<Http2Stream, Watched>();
  readonly #hasty = new WeakSet<Http2Session>();
  readonly #timer: NodeJS.Timeout;
  readonly #sockets = new Set<Socket>();

  /** `edges`: processes that share the limits. */
  constructor(limits: ListenerLimits, edges: number, hits: LimitHits) {
    this.#limits = limits;
    this.#hits = hits;
    this.#max = Math.ceil(limits.connections / edges);
    this.#maxPerAddress = Math.ceil(limits.connectionsPerAddress / edges);
    const sweepMs = Math.min(MAX_SWEEP_MS, Math.ceil(limits.stallTimeoutMs / 4));
    this.#timer = setInterval(() => this.#sweep(), sweepMs);
    this.#timer.unref();
  }

  get open(): number {
    return this.#sockets.size;
  }

  /** Counts a new connection; false if it is one too many and was cut. `shared`: an address of many clients, only bounded in all. */
  admit(socket: Socket, ip: string, shared: boolean): boolean {
    const key = shared ? '' : network(ip);
    const ofAddress = (this.#byAddress.get(key) ?? 0) + 1;
    const hit =
      this.#sockets.size >= this.#max
        ? 'connections'
        : key && ofAddress > this.#maxPerAddress
          ? 'connections_per_address'
          : null;
    if (hit) {
      this.#hits.hit(hit);
      // Without waiting for anything: whoever floods gets nothing.
      socket.resetAndDestroy();
      return false;
    }
    this.#sockets.add(socket);
    if (key) this.#byAddress.set(key, ofAddress);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      if (!key) return;
      const left = this.#byAddress.get(key)! - 1;
      if (left > 0) this.#byAddress.set(key, left);
      else this.#byAddress.delete(key);
    });
    return true;
  }

  /** An HTTP/1.1 request begins on a connection; the one before it is over. */
  watchHttp1(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    const known = this.#requests.get(socket) as Http1Watch | undefined;
    if (known) {
      known.next(request, response);
      return;
    }
    this.#requests.set(socket, new Http1Watch(socket, request, response));
    // Over TLS this is not the socket that was admitted.
    socket.once('close', () => this.#requests.delete(socket));
  }

  /** The connection is no HTTP any more. */
  forget(socket: Socket): void {
    this.#requests.delete(socket);
  }

  /** An HTTP/2 stream of a watched session is a request. `bytes`: bodies in and out so far. */
  watchHttp2(stream: ServerHttp2Stream, bytes: Bytes): void {
    // It may have left while its client was identified: its 'close' is over.
    if (!stream.destroyed) this.#streams.set(stream, new Http2Watch(stream, bytes));
  }

  /** Has this session reset streams of late? Then a stream may be gone before it is worth a Worker's attention. */
  isHasty(session: Http2Session): boolean {
    return this.#hasty.has(session);
  }

  /** Bounds what a client does to an HTTP/2 session beside requests; requests are counted too. Closes it when it is idle. */
  watchSession(session: Http2Session): void {
    let windowAt = Date.now();
    let control = 0;
    let requests = 0;
    let open = 0;
    const raw = rawOf(session);
    // Node's own `session.setTimeout` leaves its timer behind when the session closes, and the timer holds the session for its whole time.
    const idle = setTimeout(() => {
      if (open === 0 && (session.closed || session.destroyed)) raw?.destroy();
      else if (open === 0) session.close();
      // A closed session waits for its client to end the connection: not longer than this again.
      idle.refresh();
    }, this.#limits.idleTimeoutMs).unref();
    session.once('close', () => clearTimeout(idle));
    const onControl = () => {
      const now = Date.now();
      if (now - windowAt > MINUTE_MS) {
        windowAt = now;
        control = 0;
      }
      if (++control !== this.#limits.http2ControlFramesPerMinute + 1) return;
      this.#hits.hit('http2_control_frames_per_minute');
      cutSession(session, 11 /* ENHANCE_YOUR_CALM */);
    };
    session.on('ping', onControl);
    session.on('remoteSettings', onControl);
    const streams = this.#streams;
    const hasty = this.#hasty;
    // One function for all streams, and `on`: listeners of streams are a good part of what a request allocates.
    function onClose(this: Http2Stream): void {
      streams.delete(this);
      if (this.rstCode === CANCEL) hasty.add(session);
      open--;
      idle.refresh();
    }
    session.on('stream', (stream) => {
      open++;
      stream.on('close', onClose);
      if (++requests !== this.#limits.requestsPerConnection) return;
      this.#hits.hit('requests_per_connection');
      session.close();
    });
  }

  /** Cuts all that are open. */
  destroyAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #sweep(): void {
    const now = Date.now();
    for (const watched of this.#requests.values()) this.#look(watched, now);
    for (const watched of this.#streams.values()) this.#look(watched, now);
  }

  #look(watched: Watched, now: number): void {
    if (!watched.waits()) {
      watched.since = 0;
      return;
    }
    const moved = watched.moved();
    if (watched.since === 0) {
      watched.since = watched.lastAt = now;
      watched.base = watched.last = moved;
      return;
    }
    if (moved !== watched.last) {
      watched.last = moved;
      watched.lastAt = now;
    }
    const { stallTimeoutMs, minRateBytes } = this.#limits;
    const waited = now - watched.since;
    const stalled = now - watched.lastAt >= stallTimeoutMs;
    const slow = waited >= stallTimeoutMs && ((moved - watched.base) * 1000) / waited < minRateBytes;
    if (!stalled && !slow) return;
    this.#hits.hit('stall_timeout_ms');
    // Once more if that does not help.
    watched.since = 0;
    watched.cut();
  }
}

interface Bytes {
  readonly bytesIn: number;
  readonly bytesOut: number;
}

class Http2Watch implements Watched {
  readonly #stream: ServerHttp2Stream;
  readonly #bytes: Bytes;
  since = 0;
  base = 0;
  last = 0;
  lastAt = 0;

  constructor(stream: ServerHttp2Stream, bytes: Bytes) {
    this.#stream = stream;
    this.#bytes = bytes;
  }

  waits(): boolean {
    const stream = this.#stream;
    return stream.writableLength > 0 || (!stream.endAfterHeaders && !stream.readableEnded && !stream.isPaused());
  }

  moved(): number {
    return this.#bytes.bytesIn + this.#bytes.bytesOut - this.#stream.writableLength;
  }

  cut(): void {
    const { closed, session } = this.#stream;
    // Still there though it was cut: not even RST_STREAM goes out, as nothing is read from the whole connection.
    if (closed && session) cutSession(session, CANCEL);
    else this.#stream.close(CANCEL);
  }
}

/** Ends a session with GOAWAY, and its connection soon in any case: Node would wait for as long as the client does not read. */
function cutSession(session: Http2Session, code: number): void {
  const raw = rawOf(session);
  session.destroy(undefined, code);
  setTimeout(() => raw?.destroy(), GOAWAY_MS).unref();
}

/** The connection below TLS, to destroy it; the socket of a session only passes that on to the session. */
function rawOf(session: Http2Session): Socket | undefined {
  return (session.socket as Socket & { _parent?: Socket })._parent;
}

/** The request of an HTTP/1.1 connection; one object per connection. */
class Http1Watch implements Watched {
  readonly #socket: Socket;
  #request: IncomingMessage;
  #response: ServerResponse;
  since = 0;
  base = 0;
  last = 0;
  lastAt = 0;

  constructor(socket: Socket, request: IncomingMessage, response: ServerResponse) {
    this.#socket = socket;
    this.#request = request;
    this.#response = response;
  }

  next(request: IncomingMessage, response: ServerResponse): void {
    this.#request = request;
    this.#response = response;
    this.since = 0;
  }

  waits(): boolean {
    if (this.#socket.writableLength > 0) return true;
    // Answered without its body being read: that ends the connection by itself.
    return !this.#request.complete && !this.#request.isPaused() && !this.#response.writableFinished;
  }

  moved(): number {
    return this.#socket.bytesRead + this.#socket.bytesWritten - this.#socket.writableLength;
  }

  cut(): void {
    this.#socket.destroy();
  }
}

/** What counts as one address: an IPv4 address, or the /64 of an IPv6 address, which is what one customer has at least. */
export function network(ip: string): string {
  if (!isIPv6(ip)) return ip;
  const [head = '', tail] = ip.replace(/%.*$/, '').split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = Array<string>(Math.max(0, 8 - before.length - after.length)).fill('0');
  return [...before, ...(tail === undefined ? [] : zeros), ...after].slice(0, 4).join(':');
}
