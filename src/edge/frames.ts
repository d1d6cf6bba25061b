/**
 * Walks over the frames of a WebSocket stream (RFC 6455, 5.2) without touching them: where frames begin and end, and how long messages are.
 * Payloads are neither kept nor unmasked.
 */

const OPCODE_CLOSE = 0x8;
const OPCODE_PING = 0x9;
const FIN = 0x80;
/** 2 bytes, a length of 8, a mask of 4. */
const MAX_HEADER_BYTES = 14;
const MAX_CONTROL_BYTES = 125;

/** What a frame breaks: RFC 6455, 7.4.1. */
export type FrameError = 1002 | 1009;

export class FrameWalker {
  readonly #maxMessageBytes: number;
  readonly #header = Buffer.alloc(MAX_HEADER_BYTES);
  #have = 0;
  /** Payload bytes of the frame that are still to come. */
  #left = 0;
  #message = 0;
  /** Set when a frame broke a rule; the walk ends there. */
  error: FrameError | null = null;

  constructor(maxMessageBytes: number) {
    this.#maxMessageBytes = maxMessageBytes;
  }

  /** Is the stream between two frames? There another frame may be inserted. */
  get atBoundary(): boolean {
    return this.#left === 0 && this.#have === 0;
  }

  /** Walks on. Returns how many bytes may be passed on: all, or up to the frame that breaks a rule (`error` says which). */
  push(chunk: Buffer): number {
    let at = 0;
    let frameAt = 0;
    while (at < chunk.length) {
      if (this.#left > 0) {
        const step = Math.min(this.#left, chunk.length - at);
        this.#left -= step;
        at += step;
        continue;
      }
      if (this.#have === 0) frameAt = at;
      this.#header[this.#have++] = chunk[at++]!;
      if (this.#have < this.#headerBytes()) continue;
      this.error = this.#begin();
      if (this.error) return frameAt;
      this.#have = 0;
    }
    return chunk.length;
  }

  /** Length of the header as far as its bytes tell. */
  #headerBytes(): number {
    if (this.#have < 2) return 2;
    const second = this.#header[1]!;
    const length = second & 0x7f;
    return 2 + (length === 127 ? 8 : length === 126 ? 2 : 0) + (second & 0x80 ? 4 : 0);
  }

  #begin(): FrameError | null {
    const first = this.#header[0]!;
    const short = this.#header[1]! & 0x7f;
    let length = short;
    if (short === 126) length = this.#header.readUInt16BE(2);
    if (short === 127) {
      const high = this.#header.readUInt32BE(2);
      // Lengths of 2^53 and above cannot be counted, nor sent.
      if (high > 0x1fffff) return 1009;
      length = high * 2 ** 32 + this.#header.readUInt32BE(6);
    }
    this.#left = length;
    const opcode = first & 0x0f;
    if (opcode >= OPCODE_CLOSE) return length > MAX_CONTROL_BYTES || !(first & FIN) ? 1002 : null;
    this.#message = opcode === 0 ? this.#message + length : length;
    if (this.#message > this.#maxMessageBytes) return 1009;
    if (first & FIN) this.#message = 0;
    return null;
  }
}

/** A ping of the edge; servers do not mask. */
export const PING: Buffer = Buffer.from([FIN | OPCODE_PING, 0]);

/** A close frame. `masked`: as clients send it, with a mask of zeros, which changes nothing. */
export function closeFrame(code: number, masked = false): Buffer {
  const payload = [code >> 8, code & 0xff];
  return Buffer.from(masked ? [FIN | OPCODE_CLOSE, 0x82, 0, 0, 0, 0, ...payload] : [FIN | OPCODE_CLOSE, 2, ...payload]);
}
