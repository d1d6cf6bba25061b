/** Bodies on disk: any range of them is what was put, and nothing that was damaged goes out. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { openFileBlobs } from '../../state/file-blobs.ts';
import { Bodies, BodyCorrupted } from './bodies.ts';
import type { Piece } from './documents.ts';
import type { R2Error } from './limits.ts';
import { chunked, MiB, temporary, whole } from './testing.ts';

const directory = temporary();
const blobs = await openFileBlobs(directory);
const bodies = new Bodies(blobs);
after(() => bodies.close());
const LIMIT = { maxBytes: 100 * MiB };
const files = () =>
  readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).length;

async function pieceOf(bytes: Uint8Array): Promise<Piece> {
  return (await bodies.write(chunked(bytes, 300_000), LIMIT)).piece!;
}

describe('a body', () => {
  for (const size of [1, MiB - 1, MiB, MiB + 1, 3 * MiB, 3 * MiB + 5]) {
    it(`of ${size} bytes comes back, with its hashes, however it was cut when it came`, async () => {
      const bytes = randomBytes(size);
      for (const chunkBytes of [64 * 1024 - 1, MiB, 2 * MiB + 3]) {
        const seen = createHash('sha1');
        const { piece, checksums, ...rest } = await bodies.write(chunked(bytes, chunkBytes), {
          ...LIMIT,
          hashes: ['sha256'],
          digests: [seen],
        });
        const of = (name: string) => createHash(name).update(bytes).digest('hex');
        assert.deepEqual([rest.size, piece!.size], [size, size]);
        assert.deepEqual(checksums, { md5: of('md5'), sha256: of('sha256') });
        assert.equal(seen.digest('hex'), of('sha1'));
        assert.ok((await whole(bodies.read([piece!], 0, size - 1))).equals(bytes));
        await bodies.delete(piece);
      }
      assert.equal(files(), 0);
    });
  }

  it('that is empty has no file', async () => {
    const { piece, size, checksums } = await bodies.write(chunked(Buffer.alloc(0)), LIMIT);
    assert.deepEqual([piece, size, checksums.md5], [null, 0, createHash('md5').digest('hex')]);
    const empty = await bodies.write(
      (async function* () {
        yield new Uint8Array(0);
        yield new Uint8Array(0);
      })(),
      LIMIT,
    );
    assert.equal(empty.piece, null);
    assert.equal(files(), 0);
  });

  it('has a file of its own, also if another one is the same', async () => {
    const [one, two] = [await pieceOf(Buffer.from('same')), await pieceOf(Buffer.from('same'))];
    await bodies.delete(one);
    assert.equal(String(await whole(bodies.read([two], 0, 3))), 'same');
    await bodies.delete(two);
  });

  it('that is too large, or breaks off, leaves nothing, and lets its source go', async () => {
    const exactly = await bodies.write(chunked(randomBytes(1000), 100), { maxBytes: 1000 });
    await bodies.delete(exactly.piece);
    let closed = 0;
    async function* source(chunks: number, end: () => void) {
      try {
        for (let i = 0; i < chunks; i++) yield randomBytes(MiB);
        end();
      } finally {
        closed++;
      }
    }
    const tooLarge = bodies.write(
      source(3, () => undefined),
      { maxBytes: 3 * MiB - 1 },
    );
    await assert.rejects(tooLarge, (error: R2Error) => error.error === 'EntityTooLarge');
    const broken = source(3, () => {
      throw new Error('the client left');
    });
    await assert.rejects(bodies.write(broken, LIMIT), /the client left/);
    await sleep(10);
    assert.equal(closed, 2);
    assert.equal(files(), 0);
  });
});

describe('ranges', () => {
  it('are what a slice of the original is, across blocks and pieces', async () => {
    const sizes = [MiB + 3, 2 * MiB, 1, 5, 2 * MiB - 1];
    const parts = sizes.map((size) => randomBytes(size));
    const all = Buffer.concat(parts);
    const pieces: Piece[] = [];
    for (const part of parts) pieces.push(await pieceOf(part));
    // Where something begins or ends, and one byte beside it.
    const edges = [0, all.length - 1];
    let at = 0;
    for (const size of sizes) {
      for (let block = 0; block <= size; block += MiB) edges.push(at + block);
      at += size;
      edges.push(at);
    }
    const near = fc
      .tuple(fc.constantFrom(...edges), fc.integer({ min: -2, max: 2 }))
      .map(([edge, by]) => Math.min(all.length - 1, Math.max(0, edge + by)));
    const point = fc.oneof(near, fc.nat({ max: all.length - 1 }));
    await fc.assert(
      fc.asyncProperty(point, point, async (a, b) => {
        const [start, end] = [Math.min(a, b), Math.max(a, b)];
        const read = await whole(bodies.read(pieces, start, end));
        assert.ok(read.equals(all.subarray(start, end + 1)), `${start}-${end}`);
      }),
      { numRuns: 150 },
    );
    for (const piece of pieces) await bodies.delete(piece);
  });
});

describe('damage', () => {
  const size = 2 * MiB + 77;
  const bytes = randomBytes(size);
  const SALT = 16;

  /** What was given out before it was noticed: all of it is right. */
  async function given(piece: Piece, start = 0, end = size - 1): Promise<{ bytes: number; error: unknown }> {
    let at = start;
    try {
      for await (const chunk of bodies.read([piece], start, end)) {
        assert.ok(chunk.equals(bytes.subarray(at, at + chunk.length)), 'a wrong byte went out');
        at += chunk.length;
      }
    } catch (error) {
      return { bytes: at - start, error };
    }
    return { bytes: at - start, error: null };
  }

  it('of one bit anywhere in a body or its sums is noticed before a wrong byte goes out', async () => {
    const piece = await pieceOf(bytes);
    const path = blobs.path(piece.blob);
    const sound = readFileSync(path);
    assert.equal(sound.length, SALT + size + 3 * 4);
    const edges = [SALT, SALT + MiB - 1, SALT + MiB, SALT + 2 * MiB, SALT + size - 1, SALT + size, sound.length - 1];
    const position = fc.oneof(fc.constantFrom(...edges), fc.integer({ min: SALT, max: sound.length - 1 }));
    await fc.assert(
      fc.asyncProperty(position, fc.nat({ max: 7 }), async (at, bit) => {
        const damaged = Buffer.from(sound);
        damaged[at]! ^= 1 << bit;
        writeFileSync(path, damaged);
        const inBody = at - SALT;
        const block = inBody < size ? Math.floor(inBody / MiB) : Math.floor((inBody - size) / 4);
        const { bytes: before, error } = await given(piece);
        assert.ok(error instanceof BodyCorrupted && error.message.includes(piece.blob));
        assert.equal(before, block * MiB);
        // Other blocks can be read.
        for (let other = 0; other < 3; other++) {
          const result = await given(piece, other * MiB + 3, Math.min(size, (other + 1) * MiB) - 4);
          assert.equal(result.error === null, other !== block);
          if (other === block) assert.equal(result.bytes, 0);
        }
      }),
      { numRuns: 60, examples: edges.map((at) => [at, 0]) },
    );
    await bodies.delete(piece);
  });

  it('of a file that was cut, or is gone, is noticed', async () => {
    const piece = await pieceOf(bytes);
    const path = blobs.path(piece.blob);
    for (const left of [SALT + size + 11, SALT + size, SALT + size - 1, SALT + MiB, SALT, 0]) {
      truncateSync(path, left);
      const { error } = await given(piece);
      assert.ok(error instanceof BodyCorrupted, `${left} bytes left: ${error}`);
    }
    rmSync(path);
    const { error } = await given(piece);
    assert.ok(error instanceof BodyCorrupted && /gone/.test(error.message));
  });

  it('of one piece does not keep the pieces before it from being read', async () => {
    const pieces = [await pieceOf(Buffer.from('one')), await pieceOf(Buffer.from('two'))];
    writeFileSync(join(directory, pieces[1]!.blob.slice(0, 2), pieces[1]!.blob), 'x');
    assert.equal(String(await whole(bodies.read(pieces, 0, 2))), 'one');
    await assert.rejects(whole(bodies.read(pieces, 0, 3)), BodyCorrupted);
    for (const piece of pieces) await bodies.delete(piece);
    assert.equal(files(), 0);
  });
});
