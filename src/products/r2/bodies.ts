/**
 * Bodies of objects as blobs: 16 random bytes (so that each blob has its own hash, and goes with its object), the bytes themselves, and one
 * CRC-32 for each MiB of them. What is read is held against these sums before it goes out, ranges too; the blob's own SHA-256 could only be
 * checked at the end of a whole read.
 */
import { createHash, type Hash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import type { Blobs } from '../../state/blobs.ts';
import type { Checksums, Piece } from './documents.ts';
import { HashThread } from './hash-thread.ts';
import { R2Error } from './limits.ts';
import { passed } from './memory.ts';

const SALT_BYTES = 16;
const BLOCK_BYTES = 1024 * 1024;
const SUM_BYTES = 4;

/** Something that takes a body's bytes as they pass. */
export interface Digest {
  update(chunk: Uint8Array): unknown;
}

export interface Written {
  /** Null of an empty body. */
  piece: Piece | null;
  size: number;
  checksums: Checksums & { md5: string };
}

/** The stored bytes are not what was put. */
export class BodyCorrupted extends Error {
  override name = 'BodyCorrupted';
}

export type HashName = Exclude<keyof Checksums, 'md5'>;

export class Bodies {
  readonly #blobs: Blobs;
  readonly #thread = new HashThread();

  constructor(blobs: Blobs) {
    this.#blobs = blobs;
  }

  /**
   * Stores a body durably. `digests` see it, too. Throws R2Error EntityTooLarge above `maxBytes`, and what the stream throws; nothing is
   * left then.
   */
  async write(
    content: AsyncIterable<Uint8Array>,
    { maxBytes, hashes = [], digests = [] }: { maxBytes: number; hashes?: HashName[]; digests?: Digest[] },
  ): Promise<Written> {
    const md5 = this.#thread.create();
    const others = hashes.map((name): [HashName, Hash] => [name, createHash(name)]);
    const sums = new Sums();
    const all: Digest[] = [...others.map(([, hash]) => hash), ...digests, sums];
    let size = 0;
    async function* blob(first: Uint8Array, rest: AsyncIterator<Uint8Array>) {
      yield randomBytes(SALT_BYTES);
      for (let next: IteratorResult<Uint8Array> = { value: first }; !next.done; next = await rest.next()) {
        size += next.value.byteLength;
        if (size > maxBytes) {
          throw new R2Error('EntityTooLarge', 'Your proposed upload exceeds the maximum allowed object size.');
        }
        for (const digest of all) digest.update(next.value);
        await md5.update(next.value);
        passed(next.value.byteLength);
        yield next.value;
      }
      yield sums.end();
    }
    const chunks = content[Symbol.asyncIterator]();
    let piece: Piece | null = null;
    try {
      let first = await chunks.next();
      while (!first.done && first.value.byteLength === 0) first = await chunks.next();
      if (!first.done) {
        const { hash } = await this.#blobs.put(Readable.from(blob(first.value, chunks), { objectMode: false }));
        piece = { blob: hash, size };
      }
    } catch (error) {
      md5.forget();
      // What the body is read from is let go; it may just wait for a chunk that never comes.
      Promise.resolve(chunks.return?.()).catch(() => undefined);
      throw error;
    }
    const checksums: Written['checksums'] = { md5: await md5.digest() };
    for (const [name, hash] of others) checksums[name] = hash.digest('hex');
    return { piece, size, checksums };
  }

  /**
   * Bytes start..end (both inclusive) of pieces that follow each other. Each chunk was checked before it is given. Throws BodyCorrupted for
   * what is not what was put, or is gone.
   */
  async *read(pieces: readonly Piece[], start: number, end: number): AsyncGenerator<Buffer> {
    let before = 0;
    for (const piece of pieces) {
      const from = Math.max(0, start - before);
      const to = Math.min(piece.size - 1, end - before);
      if (from <= to && from < piece.size) yield* this.#readPiece(piece, from, to);
      before += piece.size;
      if (before > end) return;
    }
  }

  close(): Promise<void> {
    return this.#thread.close();
  }

  async delete(piece: Piece | null): Promise<void> {
    if (piece) await this.#blobs.delete(piece.blob);
  }

  /**
   * Removes what was written for a document that could not be: unless that names it after all, as `named` tells, because a write can be durable
   * although it failed.
   */
  async discard(piece: Piece | null, named: () => Promise<Piece | null | undefined>): Promise<void> {
    if (piece && (await named())?.blob !== piece.blob) await this.delete(piece);
  }

  async *#readPiece({ blob, size }: Piece, start: number, end: number): AsyncGenerator<Buffer> {
    const firstBlock = Math.floor(start / BLOCK_BYTES);
    const lastBlock = Math.floor(end / BLOCK_BYTES);
    const sums = await this.#sums(blob, size, firstBlock, lastBlock);
    const stream = await this.#blobs.stream(blob, {
      start: SALT_BYTES + firstBlock * BLOCK_BYTES,
      end: SALT_BYTES + Math.min(size, (lastBlock + 1) * BLOCK_BYTES) - 1,
      chunkBytes: BLOCK_BYTES,
    });
    if (!stream) throw corrupted(blob, 'it is gone');
    let index = firstBlock;
    let waiting: Buffer[] = [];
    let length = 0;
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      for (let rest = chunk; rest.length > 0; ) {
        const whole = Math.min(BLOCK_BYTES, size - index * BLOCK_BYTES);
        const part = rest.subarray(0, whole - length);
        rest = rest.subarray(part.length);
        waiting.push(part);
        length += part.length;
        if (length < whole) continue;
        const block = waiting.length === 1 ? part : Buffer.concat(waiting);
        if (crc32(block) !== sums.readUInt32LE((index - firstBlock) * SUM_BYTES)) {
          throw corrupted(blob, `its ${index + 1}. MiB is not what was put`);
        }
        passed(block.length);
        const offset = index * BLOCK_BYTES;
        yield block.subarray(Math.max(0, start - offset), Math.min(block.length, end - offset + 1));
        waiting = [];
        length = 0;
        index++;
      }
    }
    if (index <= lastBlock) throw corrupted(blob, 'it is too short');
  }

  /** The sums of some blocks, behind the body in its blob. */
  async #sums(blob: string, size: number, first: number, last: number): Promise<Buffer> {
    const at = SALT_BYTES + size;
    const stream = await this.#blobs.stream(blob, {
      start: at + first * SUM_BYTES,
      end: at + (last + 1) * SUM_BYTES - 1,
    });
    if (!stream) throw corrupted(blob, 'it is gone');
    const chunks: Buffer[] = [];
    for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
    const sums = Buffer.concat(chunks);
    if (sums.length < (last - first + 1) * SUM_BYTES) throw corrupted(blob, 'it is too short');
    return sums;
  }
}

/** CRC-32 of each block of what passes. */
class Sums {
  readonly #sums: number[] = [];
  #sum = 0;
  #length = 0;

  update(chunk: Uint8Array): void {
    for (let rest = chunk; rest.byteLength > 0; ) {
      const part = rest.subarray(0, BLOCK_BYTES - this.#length);
      this.#sum = crc32(part, this.#sum);
      this.#length += part.byteLength;
      rest = rest.subarray(part.byteLength);
      if (this.#length === BLOCK_BYTES) this.#next();
    }
  }

  end(): Buffer {
    if (this.#length > 0) this.#next();
    const bytes = Buffer.alloc(this.#sums.length * SUM_BYTES);
    for (const [index, sum] of this.#sums.entries()) bytes.writeUInt32LE(sum, index * SUM_BYTES);
    return bytes;
  }

  #next(): void {
    this.#sums.push(this.#sum);
    this.#sum = 0;
    this.#length = 0;
  }
}

function corrupted(blob: string, what: string): BodyCorrupted {
  return new BodyCorrupted(`the stored bytes of an object are damaged (blob ${blob}): ${what}`);
}
