/**
 * Objects of all buckets. A write is durable when it resolves; readers see the whole old or the whole new object. What an object leaves behind
 * is removed later (`sweep.ts`), so that who reads it now can go on.
 */
import { randomBytes } from 'node:crypto';
import { type Entry, type Ledger, RevisionConflict, type Write } from '../../state/ledger.ts';
import type { Arriving } from './arriving.ts';
import type { Bodies, Digest, HashName } from './bodies.ts';
import { isBeingDeleted } from './buckets.ts';
import { type Conditions, evaluate } from './conditions.ts';
import {
  type Bucket,
  type Checksums,
  type Garbage,
  keys,
  type ObjectMetadata,
  type Piece,
  type S3Checksum,
  type StoredObject,
} from './documents.ts';
import { checkObjectKey, noSuchBucket, R2, R2Error } from './limits.ts';
import type { Meter } from './meter.ts';

/** Writers of one key that were overtaken this often give up. */
const MAX_TRIES = 100;

/** The checksum of an S3 client: sees the body, then says what it is. `finish` throws R2Error BadDigest. */
export interface ChecksumCheck {
  digest: Digest;
  finish(): Promise<S3Checksum>;
}

export interface Put {
  metadata: ObjectMetadata;
  conditions?: Conditions;
  /** Hashes that the body must have. */
  expected?: Checksums;
  checksum?: ChecksumCheck;
  maxBytes?: number;
  /** Instead of the body's MD5. */
  etag?: string;
}

export class Objects {
  /** Objects that readers are given while they come from their source (`slurp.ts`). */
  readonly arriving = new WeakMap<StoredObject, Arriving>();
  readonly #ledger: Ledger;
  readonly #bodies: Bodies;
  readonly #meter: Meter;

  constructor(ledger: Ledger, bodies: Bodies, meter: Meter) {
    this.#ledger = ledger;
    this.#bodies = bodies;
    this.#meter = meter;
  }

  async find(bucket: Bucket, key: string): Promise<StoredObject | null> {
    checkObjectKey(key);
    return (await this.#ledger.get<StoredObject>(keys.object(bucket.id, key)))?.value ?? null;
  }

  /** Bytes start..end of an object's body (both inclusive), checked as they are read; throws BodyCorrupted. */
  async *read(object: StoredObject, range?: { start: number; end: number }): AsyncGenerator<Buffer> {
    if (object.size === 0) return;
    const { start, end } = range ?? { start: 0, end: object.size - 1 };
    const arriving = this.arriving.get(object);
    if (arriving) return yield* arriving.read(start, end);
    yield* this.#bodies.read(await this.#pieces(object), start, end);
  }

  /**
   * Stores an object. Null if the conditions do not hold. Throws R2Error (EntityTooLarge, BadDigest, NoSuchBucket), and what the body's stream
   * throws; then the object that was there stays.
   */
  async put(bucket: Bucket, key: string, content: AsyncIterable<Uint8Array>, put: Put): Promise<StoredObject | null> {
    checkObjectKey(key);
    // Before the body is taken; it counts again when the object is written.
    if (put.conditions && evaluate(put.conditions, await this.find(bucket, key)) !== 'ok') return null;
    const { expected = {}, checksum } = put;
    const hashes = (Object.keys(expected) as (keyof Checksums)[]).filter((name): name is HashName => name !== 'md5');
    const written = await this.#bodies.write(content, {
      maxBytes: put.maxBytes ?? R2.uploadBytes,
      hashes,
      digests: checksum ? [checksum.digest] : [],
    });
    let stored: StoredObject | null;
    try {
      for (const name of Object.keys(expected) as (keyof Checksums)[]) {
        checkDigest(name, expected[name]!, written.checksums[name]!);
      }
      const s3 = await checksum?.finish();
      const object: StoredObject = {
        ...put.metadata,
        version: randomBytes(16).toString('hex'),
        size: written.size,
        etag: put.etag ?? written.checksums.md5,
        uploaded: Date.now(),
        checksums: written.checksums,
        ...(s3 && { s3 }),
        body: written.piece,
      };
      stored = await this.commit(bucket, key, object, { conditions: put.conditions });
    } catch (error) {
      await this.#bodies.discard(written.piece, async () => {
        const body = (await this.find(bucket, key))?.body;
        return typeof body === 'number' ? null : body;
      });
      throw error;
    }
    if (!stored) await this.#bodies.delete(written.piece);
    return stored;
  }

  /**
   * Writes an object's document over what is there, if the conditions hold; null if not. `also`: writes that go with it, all or none: throws
   * RevisionConflict if one of those is not as expected.
   */
  async commit(
    bucket: Bucket,
    key: string,
    object: StoredObject,
    { conditions, also = [] }: { conditions?: Conditions; also?: Write[] } = {},
  ): Promise<StoredObject | null> {
    const id = keys.object(bucket.id, key);
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const before = await this.#ledger.get<StoredObject>(id);
      if (evaluate(conditions, before?.value ?? null) !== 'ok') return null;
      const home = await this.#home(bucket);
      const { deletingSince, ...kept } = home.value;
      try {
        await this.#ledger.write([
          { key: id, value: object, expected: before?.revision ?? 0 },
          // Who began to delete the bucket long ago may still be at it, and must not succeed now.
          { key: home.key, expected: home.revision, ...(deletingSince !== undefined && { value: kept }) },
          ...(before ? [garbage(before.value)] : []),
          ...also,
        ]);
      } catch (error) {
        if (error instanceof RevisionConflict && (error.key === id || error.key === home.key)) continue;
        throw error;
      }
      this.#meter.count(bucket, {
        storedBytes: object.size - (before?.value.size ?? 0),
        objects: before ? 0 : 1,
      });
      return object;
    }
    throw new R2Error('TooManyRequests', 'Reduce your concurrent request rate for the same object.');
  }

  /** What is not there is deleted, too. */
  async delete(bucket: Bucket, names: string[]): Promise<void> {
    if (names.length > R2.deleteKeys) {
      throw new R2Error('InvalidArgument', `At most ${R2.deleteKeys} objects can be deleted at once.`);
    }
    for (const name of names) checkObjectKey(name);
    await Promise.all(names.map((name) => this.#remove(bucket, name)));
  }

  /** False if there is none, or `version` is given and it is another one. */
  async #remove(bucket: Bucket, key: string, version?: string): Promise<boolean> {
    const id = keys.object(bucket.id, key);
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const entry = await this.#ledger.get<StoredObject>(id);
      if (!entry || (version !== undefined && entry.value.version !== version)) return false;
      try {
        await this.#ledger.write([{ key: id, value: null, expected: entry.revision }, garbage(entry.value)]);
      } catch (error) {
        if (error instanceof RevisionConflict) continue;
        throw error;
      }
      this.#meter.count(bucket, { storedBytes: -entry.value.size, objects: -1 });
      return true;
    }
    throw new R2Error('TooManyRequests', 'Reduce your concurrent request rate for the same object.');
  }

  /** Deletes an object if it is still the one that was seen. */
  removeVersion(bucket: Bucket, key: string, { version }: StoredObject): Promise<boolean> {
    return this.#remove(bucket, key, version);
  }

  /** The bucket's document: a write holds only if nobody changed it meanwhile, who might delete it. */
  async #home({ id, accountId, name }: Bucket): Promise<Entry<Bucket>> {
    const entry = await this.#ledger.get<Bucket>(keys.bucket(accountId, name));
    if (entry?.value.id !== id) throw noSuchBucket();
    if (isBeingDeleted(entry.value)) throw new R2Error('ServiceUnavailable', 'The bucket is just being deleted.');
    return entry;
  }

  async #pieces({ body, version }: StoredObject): Promise<Piece[]> {
    if (body === null) return [];
    if (typeof body !== 'number') return [body];
    const entry = await this.#ledger.get<{ pieces: Piece[] }>(keys.pieces(version));
    if (!entry) throw new Error(`the list of pieces of an object is missing (version ${version})`);
    return entry.value.pieces;
  }
}

/** Bytes that nothing names any more. */
export function garbage({ version, body }: Garbage): Write {
  return { key: keys.garbage(Date.now(), version), value: { version, body } satisfies Garbage };
}

function checkDigest(name: keyof Checksums, expected: string, actual: string): void {
  if (expected === actual) return;
  const called = name === 'md5' ? 'MD5' : `SHA-${name.slice(3)}`;
  throw new R2Error(
    'BadDigest',
    `The ${called} checksum you specified did not match what we received.\nYou provided a ${called} checksum with value: ${expected}\nActual ${called} was: ${actual}`,
  );
}
