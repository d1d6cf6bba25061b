/**
 * Is a relayed connection between two workerd processes in use? Watches the bytes, changes nothing. There are two kinds:
 *
 * - HTTP/1.1, for `fetch()` on a service binding: one request at a time, so it is in use from a request's first byte to its answer's
 *   last one. After an upgrade (WebSocket) it is in use until it closes.
 * - Cap'n Proto RPC after a CONNECT, for method calls: every `call` and `bootstrap` is answered by one `return`
 *   (https://github.com/capnproto/capnproto/blob/v2/c%2B%2B/src/capnp/rpc.capnp), so calls without one are in progress.
 */

import { BadResponse, ResponseParser } from '../edge/response-parser.ts';

/** HTTP whose framing could not be followed: bytes this recent mean that it is in use. */
export const QUIET_MS = 1_000;

/** Longer than any method in use. */
const MAX_METHOD_LENGTH = 32;

/** Kinds of message, the union of `Message` in rpc.capnp. */
const CALL = 2;
const RETURN = 3;
const BOOTSTRAP = 8;

/** More segments or a larger root than real messages have: not RPC, or nothing that can be followed. */
const MAX_SEGMENTS = 512;
const MAX_HEAD_BYTES = 64 * 1024;
const WORD = 8;

export interface Activity {
  /** Bytes from the caller. Returns how many calls began. */
  fromCaller(chunk: Buffer): number;
  fromTarget(chunk: Buffer): void;
  /** Calls in progress; 0: nobody would notice if the connection closed. */
  open(nowMs: number): number;
  /** HTTP between two requests, known for sure: the next one may go to another process. */
  readonly betweenRequests: boolean;
}

export function createActivity(): Activity {
  let kind: 'unknown' | 'http' | 'upgraded' | 'rpc' = 'unknown';
  let callerSpokeLast = false;
  let answer: ResponseParser | null = null;
  let followed = true;
  let lastBytesAt = Date.now();
  let calls = 0;
  let returns = 0;
  const count = (type: number, isAnswered: boolean) => {
    if (!isAnswered) return;
    if (type === CALL || type === BOOTSTRAP) calls++;
    else if (type === RETURN) returns++;
  };
  const requests = createMessageReader(count);
  const answers = createMessageReader(count);

  return {
    fromCaller(chunk) {
      lastBytesAt = Date.now();
      const begins = !callerSpokeLast;
      callerSpokeLast = true;
      if (kind === 'unknown') kind = chunk.subarray(0, 8).toString('latin1') === 'CONNECT ' ? 'rpc' : 'http';
      if (kind === 'http' && begins && /\r\nupgrade: *websocket\r\n/i.test(chunk.toString('latin1'))) kind = 'upgraded';
      if (kind === 'http' && followed && !answer) {
        const method = chunk
          .subarray(0, MAX_METHOD_LENGTH + 1)
          .toString('latin1')
          .split(' ', 1)[0]!;
        const done = () => {
          answer = null;
        };
        answer = new ResponseParser(method, { onHead() {}, onData() {}, onEnd: done });
      }
      if (kind !== 'rpc') return begins ? 1 : 0;
      const before = calls;
      requests(chunk);
      return calls - before;
    },
    fromTarget(chunk) {
      lastBytesAt = Date.now();
      callerSpokeLast = false;
      if (kind === 'rpc') answers(chunk);
      if (kind !== 'http' || !followed) return;
      try {
        if (!answer) throw new BadResponse('an answer that nobody asked for');
        answer.push(chunk);
      } catch {
        // The bytes go on as they are; only how busy the connection is has to be guessed from now on.
        followed = false;
      }
    },
    open(nowMs) {
      if (kind === 'upgraded') return 1;
      if (kind === 'rpc') return Math.max(0, calls - returns);
      if (followed) return answer ? 1 : 0;
      return callerSpokeLast || nowMs - lastBytesAt < QUIET_MS ? 1 : 0;
    },
    get betweenRequests() {
      return kind === 'http' && followed && !answer;
    },
  };
}

/**
 * Reads one direction of an RPC connection, cut anywhere: skips the HTTP head, then reports the kind of each message (the first 16
 * bits of its root struct). Follows the framing of https://capnproto.org/encoding.html; gives up on what it cannot follow.
 */
export function createMessageReader(onMessage: (type: number, isAnswered: boolean) => void): (chunk: Buffer) => void {
  let inHttpHead = true;
  let pending: Buffer = Buffer.alloc(0);
  let skip = 0;
  let lost = false;

  return (chunk) => {
    let at = Math.min(skip, chunk.length);
    skip -= at;
    if (lost || at === chunk.length) return;
    pending = pending.length > 0 ? Buffer.concat([pending, chunk.subarray(at)]) : chunk.subarray(at);
    at = 0;
    if (inHttpHead) {
      const end = pending.indexOf('\r\n\r\n');
      if (end === -1) return;
      inHttpHead = false;
      at = end + 4;
    }
    while (at < pending.length) {
      const message = readHead(pending.subarray(at));
      if (message === 'short' && pending.length - at < MAX_HEAD_BYTES) break;
      if (typeof message === 'string') {
        lost = true;
        pending = Buffer.alloc(0);
        return;
      }
      onMessage(message.type, message.isAnswered);
      at += message.sizeBytes;
    }
    skip = Math.max(0, at - pending.length);
    // A copy: a small rest must not keep a large chunk in memory.
    pending = at < pending.length ? Buffer.from(pending.subarray(at)) : Buffer.alloc(0);
  };
}

interface Head {
  type: number;
  sizeBytes: number;
  /** False for a call that is for its pipeline only: it gets no return. */
  isAnswered: boolean;
}

/** The message that begins here; 'short': more bytes are needed; 'strange': not a message. */
function readHead(bytes: Buffer): Head | 'short' | 'strange' {
  if (bytes.length < WORD) return 'short';
  const segments = bytes.readUInt32LE(0) + 1;
  if (segments > MAX_SEGMENTS) return 'strange';
  const tableBytes = Math.ceil((4 + 4 * segments) / WORD) * WORD;
  if (bytes.length < tableBytes + WORD) return 'short';
  let sizeBytes = tableBytes;
  for (let i = 0; i < segments; i++) sizeBytes += bytes.readUInt32LE(4 + 4 * i) * WORD;
  // The root is a struct pointer: kind in the two low bits, then the offset in words, signed.
  const pointer = bytes.readInt32LE(tableBytes);
  const offset = pointer >> 2;
  if ((pointer & 3) !== 0 || offset < 0) return 'strange';
  const root = tableBytes + WORD + offset * WORD;
  if (root + 2 > sizeBytes) return 'strange';
  if (bytes.length < root + 2) return 'short';
  const type = bytes.readUInt16LE(root);
  if (type !== CALL) return { type, sizeBytes, isAnswered: true };
  // Message has one word of data, then the pointer to Call; `onlyPromisePipeline` is bit 130 of Call's data.
  const at = root + WORD;
  if (at + WORD > sizeBytes) return 'strange';
  if (bytes.length < at + WORD) return 'short';
  const call = bytes.readInt32LE(at);
  const flags = at + WORD + (call >> 2) * WORD + 16;
  const hasFlags = (call & 3) === 0 && call >= 0 && bytes.readUInt16LE(at + 4) >= 3 && flags < sizeBytes;
  if (hasFlags && bytes.length <= flags) return 'short';
  return { type, sizeBytes, isAnswered: !hasFlags || (bytes[flags]! & 4) === 0 };
}
