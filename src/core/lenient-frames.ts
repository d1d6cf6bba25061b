/**
 * A stream before the WebSocket server that makes clients' frames what RFC 6455 demands: wrangler's `tail` sends its first frame
 * unmasked (a MUST NOT, section 5.3), and the server would end the connection. An unmasked frame gets the mask 0, under which
 * masked and plain bytes are the same; masked frames pass as they are. Only heads are looked at; payloads stream through.
 */
import { Transform, type TransformCallback } from 'node:stream';

const MASKED = 0x80;
const ZERO_MASK = Buffer.alloc(4);

/** Larger frames end the stream with an error. Clients of a tail send pings and a few bytes of JSON. */
export const MAX_FRAME_BYTES = 64 * 1024;

/** Transforms bytes from a client. Chunks may be cut anywhere. Fails with an error on a frame above `maxFrameBytes`. */
export function lenientFrames(maxFrameBytes: number = MAX_FRAME_BYTES): Transform {
  let head = Buffer.alloc(0);
  /** Bytes of the current frame's payload (and mask) that are still to come. */
  let left = 0;

  return new Transform({
    transform(chunk: Buffer, _encoding, done: TransformCallback) {
      let at = 0;
      while (at < chunk.length) {
        if (left > 0) {
          const part = chunk.subarray(at, at + left);
          this.push(part);
          left -= part.length;
          at += part.length;
          continue;
        }
        head = Buffer.concat([head, chunk.subarray(at, at + 1)]);
        at++;
        if (head.length < headLength(head)) continue;
        const payload = payloadLength(head);
        if (payload > maxFrameBytes) return done(new Error(`a WebSocket frame of ${payload} bytes is too large`));
        if ((head[1]! & MASKED) !== 0) {
          this.push(head);
          left = payload + 4;
        } else {
          head[1]! |= MASKED;
          this.push(Buffer.concat([head, ZERO_MASK]));
          left = payload;
        }
        head = Buffer.alloc(0);
      }
      done();
    },
  });
}

/** Bytes of a frame's head without its mask, as far as the bytes so far tell (RFC 6455, section 5.2). */
function headLength(head: Buffer): number {
  if (head.length < 2) return 2;
  const short = head[1]! & 0x7f;
  if (short === 126) return 4;
  return short === 127 ? 10 : 2;
}

function payloadLength(head: Buffer): number {
  const short = head[1]! & 0x7f;
  if (short === 126) return head.readUInt16BE(2);
  // Beyond 2^53 a number is inexact, and far too large all the same.
  return short === 127 ? Number(head.readBigUInt64BE(2)) : short;
}
