/** R2 buckets of accounts. Their documents are in R2's own ledger, so that who serves the objects knows which buckets there are. */
import { randomBytes } from 'node:crypto';
import { type Ledger, RevisionConflict } from '../../state/ledger.ts';
import { type Bucket, keys, type StorageClass } from './documents.ts';
import { checkBucketName, noSuchBucket, R2, R2Error } from './limits.ts';

const DELETING_MS = 10_000;

export interface NewBucket {
  location?: string;
  jurisdiction?: string;
  storageClass?: StorageClass;
}

export class Buckets {
  readonly #ledger: Ledger;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** Null if the account has none of this name. */
  async find(accountId: string, name: string): Promise<Bucket | null> {
    return (await this.#ledger.get<Bucket>(keys.bucket(accountId, name)))?.value ?? null;
  }

  /** Throws R2Error NoSuchBucket. */
  async get(accountId: string, name: string): Promise<Bucket> {
    const bucket = await this.find(accountId, name);
    if (!bucket) throw noSuchBucket();
    return bucket;
  }

  /** By name; of all accounts without one. */
  async list(accountId?: string): Promise<Bucket[]> {
    return (await this.#ledger.list<Bucket>(keys.buckets(accountId))).map(({ value }) => value);
  }

  /** Throws R2Error BucketConflict, InvalidBucketName, TooManyBuckets. */
  async create(accountId: string, name: string, options: NewBucket = {}): Promise<Bucket> {
    checkBucketName(name);
    const bucket: Bucket = {
      id: randomBytes(16).toString('hex'),
      accountId,
      name,
      createdOn: new Date().toISOString(),
      location: options.location ?? 'WNAM',
      jurisdiction: options.jurisdiction ?? 'default',
      storageClass: options.storageClass ?? 'Standard',
      cors: [],
      lifecycle: [],
      source: null,
    };
    const known = await this.#ledger.list(keys.buckets(accountId));
    if (known.length >= R2.bucketsPerAccount)
      throw new R2Error('TooManyBuckets', 'The account has the most buckets that it may have.');
    try {
      await this.#ledger.put(keys.bucket(accountId, name), bucket, 0);
    } catch (error) {
      if (!(error instanceof RevisionConflict)) throw error;
      throw new R2Error('BucketConflict', 'The bucket you tried to create already exists, and you own it.');
    }
    return bucket;
  }

  /** Changes some fields. Throws R2Error NoSuchBucket. */
  async change(
    accountId: string,
    name: string,
    fields: Partial<Pick<Bucket, 'cors' | 'lifecycle' | 'source' | 'storageClass'>>,
  ): Promise<Bucket> {
    for (;;) {
      const entry = await this.#ledger.get<Bucket>(keys.bucket(accountId, name));
      if (!entry) throw noSuchBucket();
      const changed = { ...entry.value, ...fields };
      try {
        await this.#ledger.put(entry.key, changed, entry.revision);
        return changed;
      } catch (error) {
        if (!(error instanceof RevisionConflict)) throw error;
      }
    }
  }

  /** Only an empty one; uploads that are under way go with it. Throws R2Error NoSuchBucket, BucketNotEmpty. */
  async remove(accountId: string, name: string): Promise<Bucket> {
    const key = keys.bucket(accountId, name);
    for (;;) {
      const entry = await this.#ledger.get<Bucket>(key);
      if (!entry) throw noSuchBucket();
      const { deletingSince: _, ...bucket } = entry.value;
      await this.#checkEmpty(bucket);
      try {
        const revision = await this.#ledger.put(key, { ...bucket, deletingSince: Date.now() }, entry.revision);
        // Nothing is written from here on.
        try {
          await this.#checkEmpty(bucket);
        } catch (error) {
          await this.#ledger.put(key, bucket, revision);
          throw error;
        }
        await this.#ledger.delete(key, revision);
        return bucket;
      } catch (error) {
        // Somebody else changes or deletes it.
        if (!(error instanceof RevisionConflict)) throw error;
      }
    }
  }

  /** Throws R2Error BucketNotEmpty. */
  async #checkEmpty({ id }: Bucket): Promise<void> {
    const objects = await this.#ledger.list(`${keys.objects(id)}/`, { limit: 1 });
    if (objects.length > 0) throw new R2Error('BucketNotEmpty', 'The bucket you tried to delete is not empty.');
  }
}

/** A process that was killed in the middle of a deletion leaves the mark behind. */
export function isBeingDeleted({ deletingSince = 0 }: Bucket): boolean {
  return Date.now() - deletingSince < DELETING_MS;
}
