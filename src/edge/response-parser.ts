/**
 * Parses HTTP/1.1 responses of an isolate process from its socket's bytes (RFC 9112). workerd frames its answers itself, but the
 * process runs a stranger's code, so nothing is taken on trust: sizes are bounded, and whatever does not parse ends the connection.
 * What was parsed is serialised anew towards the eyeball, never copied raw.
 */

/** Header section of one response, as workerd's own limit for requests; beyond it the answer is refused. */
const MAX_HEAD_BYTES = 256 * 1024;
const MAX_CHUNK_LINE_BYTES = 1024;
const HEAD_END = Buffer.from('\r\n\r\n');
const CR = 13;
const LF = 10;

export interface ResponseEvents {
  /** Status 200 to 599 and header names and values in turn, as sent, without those that belong to the connection. */
  onHead(status: number, statusText: string, headers: string[]): void;
  /** `last`: the body is complete with this chunk (not known of chunked ones). */
  onData(chunk: Buffer, last: boolean): void;
  /** `reusable`: the connection may carry another request. */
  onEnd(reusable: boolean): void;
}

/** The bytes are not an HTTP/1.1 response. */
export class BadResponse extends Error {
  override name = 'BadResponse';
}

type Mode = 'head' | 'length' | 'chunk-size' | 'chunk-data' | 'chunk-end' | 'trailers' | 'until-close' | 'done';

/** Headers that speak of this hop only (RFC 9110, 7.6.1). */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'te',
  'trailer',
  'upgrade',
]);

export class ResponseParser {
  readonly #events: ResponseEvents;
  readonly #noBody: boolean;
  #mode: Mode = 'head';
  #pending: Buffer | null = null;
  #left = 0;
  #close = false;

  /** `method` of the request: answers to HEAD have no body. */
  constructor(method: string, events: ResponseEvents) {
    this.#events = events;
    this.#noBody = method === 'HEAD';
  }

  get done(): boolean {
    return this.#mode === 'done';
  }

  /** Any byte of the answer's head seen by the events yet? */
  get started(): boolean {
    return this.#mode !== 'head';
  }

  /** Takes the next bytes. Throws BadResponse. Bytes behind the end of the response are refused: nothing was asked for. */
  push(bytes: Buffer): void {
    let rest: Buffer | null = bytes;
    while (rest && rest.length > 0) {
      if (this.#mode === 'done') throw new BadResponse('bytes after the end of the response');
      rest = this.#step(rest);
    }
  }

  /** The connection was closed by the process. Returns whether the response was complete. */
  end(): boolean {
    if (this.#mode === 'until-close') this.#finish();
    return this.#mode === 'done';
  }

  #step(bytes: Buffer): Buffer | null {
    switch (this.#mode) {
      case 'head':
        return this.#head(bytes);
      case 'length':
      case 'chunk-data':
        return this.#data(bytes);
      case 'chunk-size':
        return this.#line(bytes, (line) => this.#chunkSize(line));
      case 'chunk-end':
        return this.#line(bytes, (line) => {
          if (line !== '') throw new BadResponse('a chunk is longer than its size');
          this.#mode = 'chunk-size';
        });
      case 'trailers':
        return this.#line(bytes, (line) => {
          if (line === '') this.#finish();
        });
      default:
        this.#events.onData(bytes, false);
        return null;
    }
  }

  #head(bytes: Buffer): Buffer | null {
    const all = this.#pending ? Buffer.concat([this.#pending, bytes]) : bytes;
    const end = all.indexOf(HEAD_END);
    if (end < 0) {
      if (all.length > MAX_HEAD_BYTES) throw new BadResponse(`a header section of more than ${MAX_HEAD_BYTES} bytes`);
      this.#pending = all;
      return null;
    }
    this.#pending = null;
    this.#parseHead(all.toString('latin1', 0, end));
    return all.subarray(end + HEAD_END.length);
  }

  #parseHead(head: string): void {
    const lines = head.split('\r\n');
    const start = lines[0]!;
    const status = Number(start.slice(9, 12));
    if (!start.startsWith('HTTP/1.1 ') || !(status >= 100 && status <= 599)) throw new BadResponse('no status line');
    // Interim responses (100, 103): the final one follows. 101 is never asked for here.
    if (status < 200) return;
    const headers: string[] = [];
    let length = -1;
    let chunked = false;
    for (let i = 1; i < lines.length; i++) {
      const line = lines[i]!;
      const colon = line.indexOf(':');
      if (colon < 1) throw new BadResponse('a header line without a name');
      const name = line.slice(0, colon);
      const value = line.slice(line.charCodeAt(colon + 1) === 32 ? colon + 2 : colon + 1);
      switch (name.length) {
        // Only names of these lengths need a closer look: all others pass without lower-casing.
        case 2:
        case 7:
        case 10:
        case 14:
        case 16:
        case 17: {
          const lower = name.toLowerCase();
          if (lower === 'content-length') {
            if (!/^\d{1,15}$/.test(value) || length >= 0) throw new BadResponse('a wrong Content-Length');
            length = Number(value);
          } else if (lower === 'transfer-encoding') {
            if (value.toLowerCase() !== 'chunked') throw new BadResponse('an unknown Transfer-Encoding');
            chunked = true;
          } else if (lower === 'connection' && value.toLowerCase() === 'close') this.#close = true;
          if (HOP_BY_HOP.has(lower)) continue;
        }
      }
      headers.push(name, value);
    }
    if (chunked && length >= 0) throw new BadResponse('both Content-Length and Transfer-Encoding');
    const bare =
      status === 500 && lines.length === 3 && length === UNCAUGHT_BODY_BYTES && lines[1] === 'Connection: close';
    this.#events.onHead(status, bare ? UNCAUGHT : start.slice(13), headers);
    if (this.#noBody || status === 204 || status === 304 || length === 0) this.#finish();
    else if (chunked) this.#mode = 'chunk-size';
    else if (length > 0) {
      this.#mode = 'length';
      this.#left = length;
    } else {
      this.#mode = 'until-close';
      this.#close = true;
    }
  }

  #data(bytes: Buffer): Buffer | null {
    const chunk = bytes.length > this.#left ? bytes.subarray(0, this.#left) : bytes;
    this.#left -= chunk.length;
    this.#events.onData(chunk, this.#left === 0 && this.#mode === 'length');
    if (this.#left === 0) {
      if (this.#mode === 'length') this.#finish();
      else this.#mode = 'chunk-end';
    }
    return bytes.length > chunk.length ? bytes.subarray(chunk.length) : null;
  }

  #chunkSize(line: string): void {
    const size = /^([0-9a-fA-F]{1,12})(?:;.*)?$/.exec(line)?.[1];
    if (!size) throw new BadResponse('a wrong chunk size');
    this.#left = Number.parseInt(size, 16);
    this.#mode = this.#left === 0 ? 'trailers' : 'chunk-data';
  }

  /** Collects one line that ends in CR LF and gives it to `take` without its end. */
  #line(bytes: Buffer, take: (line: string) => void): Buffer | null {
    const all = this.#pending ? Buffer.concat([this.#pending, bytes]) : bytes;
    const end = all.indexOf(LF);
    if (end < 0) {
      if (all.length > MAX_CHUNK_LINE_BYTES) throw new BadResponse('a chunk line that does not end');
      this.#pending = all;
      return null;
    }
    if (all[end - 1] !== CR) throw new BadResponse('a line that ends in a bare LF');
    this.#pending = null;
    take(all.toString('latin1', 0, end - 1));
    return all.subarray(end + 1);
  }

  #finish(): void {
    this.#mode = 'done';
    this.#events.onEnd(!this.#close);
  }
}

/**
 * Status text of a response that workerd made because the Worker threw: a bare 500 with `Connection: close`, then a length of 21, and no
 * other header. A Worker cannot send that itself: its own `connection` header is dropped, and where workerd adds one to a Worker's answer
 * (the request's body was not read) it stands behind the length.
 */
const UNCAUGHT_BODY_BYTES = 'Internal Server Error'.length;
export const UNCAUGHT = 'uncaught exception';
