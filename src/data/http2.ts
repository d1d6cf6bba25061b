/**
 * HTTP/2 to origins (RFC 9113) over Node's client: sessions per destination. A session that the origin ends (GOAWAY) takes no new
 * requests; those on it are finished. There is no coalescing: a connection serves the one host that it was made for, so an
 * answer 421 is the origin's own and is passed on.
 */
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { Destination } from './destination.ts';
import { type OriginHandler, type OriginRequest, TRANSPORT_LIMITS } from './exchange.ts';

/** What may be under way to us: of one answer, and of all answers of a session. */
const STREAM_WINDOW = 1024 * 1024;
const SESSION_WINDOW = 8 * 1024 * 1024;

interface Session {
  session: ClientHttp2Session;
  open: number;
  /** Some request on it was answered: it is a kept connection. */
  proven: boolean;
  idle: NodeJS.Timeout | undefined;
}

export class Http2 {
  readonly #sessions = new Map<string, Session[]>();

  /** A session with room; with `full`, also the least busy one without: its requests wait for each other. */
  find(key: string, full: boolean): Session | undefined {
    const usable = (this.#sessions.get(key) ?? []).filter(({ session }) => !session.closed && !session.destroyed);
    const least = usable.reduce<Session | undefined>((a, b) => (a && a.open <= b.open ? a : b), undefined);
    if (!least || least.open < roomOf(least.session)) return least;
    return full || usable.length >= TRANSPORT_LIMITS.sessionsPerOrigin ? least : undefined;
  }

  /** Begins a session on a connection whose TLS chose "h2". */
  adopt(key: string, socket: TLSSocket): void {
    const session = connect('https://origin.invalid', {
      createConnection: () => socket,
      settings: {
        enablePush: false,
        initialWindowSize: STREAM_WINDOW,
        maxHeaderListSize: TRANSPORT_LIMITS.headerBytes,
      },
      maxHeaderListPairs: TRANSPORT_LIMITS.headerPairs,
    });
    const entry: Session = { session, open: 0, proven: false, idle: undefined };
    const all = this.#sessions.get(key) ?? [];
    this.#sessions.set(key, [...all, entry]);
    session.once('connect', () => session.setLocalWindowSize(SESSION_WINDOW));
    // Its requests are told by their streams.
    session.on('error', () => session.destroy());
    session.once('close', () => {
      clearTimeout(entry.idle);
      const others = (this.#sessions.get(key) ?? []).filter((each) => each !== entry);
      if (others.length > 0) this.#sessions.set(key, others);
      else this.#sessions.delete(key);
    });
    rest(entry);
  }

  send(entry: Session, destination: Destination, request: OriginRequest, handler: OriginHandler): void {
    const { method, path, headers, hasBody } = request;
    const proven = entry.proven;
    let stream: ClientHttp2Stream;
    try {
      const secure = destination.secure ? 'https' : 'http';
      const pseudo = [':method', method, ':scheme', secure, ':authority', destination.authority, ':path', path];
      const named = headers.map((item, index) => (index % 2 === 0 ? item.toLowerCase() : item));
      stream = entry.session.request([...pseudo, ...named], { endStream: !hasBody });
    } catch (error) {
      handler.onError(error, false);
      return;
    }
    entry.open++;
    clearTimeout(entry.idle);
    let answered = false;
    const fail = (error: unknown) => {
      if (answered) return;
      answered = true;
      const refused = stream.rstCode === constants.NGHTTP2_REFUSED_STREAM;
      // Whoever is silent or breaks off here may do so for the next one too: new requests get another connection.
      if (!refused && !entry.session.destroyed && stream.rstCode !== constants.NGHTTP2_CANCEL) entry.session.close();
      handler.onError(error, refused || (proven && entry.session.destroyed));
    };
    stream.setTimeout(TRANSPORT_LIMITS.idleMs, () =>
      stream.destroy(new Error('nothing was sent or received for too long')),
    );
    stream.on('error', fail);
    stream.on('response', (fields, _flags, raw) => {
      answered = true;
      entry.proven = true;
      const visible = raw.filter((_, index) => !raw[index - (index % 2)]!.startsWith(':'));
      // A stream that is reset ends like one that is whole; only its code tells.
      const isWhole = () => stream.rstCode === constants.NGHTTP2_NO_ERROR && !stream.aborted;
      handler.onResponse(Number(fields[':status']), '', visible, stream, isWhole);
    });
    stream.once('close', () => {
      fail(new Error('the origin ended the request without an answer'));
      entry.open--;
      if (entry.open === 0) rest(entry);
    });
    handler.onSending({ stream, cancel: () => stream.close(constants.NGHTTP2_CANCEL) });
  }

  close(): void {
    for (const sessions of this.#sessions.values()) for (const { session } of sessions) session.destroy();
  }
}

/** Requests that may be open at once on a session. */
function roomOf(session: ClientHttp2Session): number {
  return Math.min(
    TRANSPORT_LIMITS.streamsPerSession,
    session.remoteSettings.maxConcurrentStreams ?? Number.POSITIVE_INFINITY,
  );
}

function rest(entry: Session): void {
  clearTimeout(entry.idle);
  entry.idle = setTimeout(() => entry.session.close(), TRANSPORT_LIMITS.keepAliveMs);
}
