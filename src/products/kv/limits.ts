/** Limits of KV (https://developers.cloudflare.com/kv/platform/limits/), sizes in bytes, times in seconds, and the errors above them. */
export const KV = {
  keyBytes: 512,
  valueBytes: 25 * 1024 * 1024,
  metadataBytes: 1024,
  /** An entry lives at least this long. */
  minTtl: 60,
  minCacheTtl: 30,
  listKeys: 1000,
  bulkGetKeys: 100,
  bulkWriteKeys: 10_000,
  /** Body of a bulk write. */
  bulkWriteBytes: 100 * 1024 * 1024,
  namespacesPerAccount: 1000,
  titleLength: 512,
} as const;

/** The request cannot be served; `message` is for its sender, in Cloudflare's words. */
export class KvError extends Error {
  override name = 'KvError';
  readonly status: 400 | 413 | 414 | 429;
  constructor(status: KvError['status'], message: string) {
    super(message);
    this.status = status;
  }
}

/** Throws KvError for what is no key. */
export function checkKey(key: string): void {
  if (key === '') throw new KvError(400, 'Key names must not be empty');
  if (key === '.' || key === '..') throw new KvError(400, `"${key}" is not allowed as key name`);
  // Such a text has no UTF-8 form, and so no way over the wire.
  if (!key.isWellFormed()) throw new KvError(400, 'Key names must be valid Unicode');
  const length = Buffer.byteLength(key);
  if (length > KV.keyBytes) {
    throw new KvError(414, `UTF-8 encoded length of ${length} exceeds key length limit of ${KV.keyBytes}.`);
  }
}

/**
 * When an entry expires, in seconds since 1970, from what a writer may give (as numbers or as a query's texts); undefined: never. `now` in
 * seconds. A time to live wins over a time. Throws KvError.
 */
export function expirationOf(
  given: { expiration?: string | number | null; ttl?: string | number | null },
  now: number,
): number | undefined {
  if (given.ttl !== undefined && given.ttl !== null) {
    const ttl = Number(given.ttl);
    if (!Number.isInteger(ttl) || ttl <= 0) {
      throw new KvError(400, `Invalid expiration_ttl of ${given.ttl}. Please specify integer greater than 0.`);
    }
    if (ttl < KV.minTtl) {
      throw new KvError(400, `Invalid expiration_ttl of ${given.ttl}. Expiration TTL must be at least ${KV.minTtl}.`);
    }
    return Math.floor(now) + ttl;
  }
  if (given.expiration === undefined || given.expiration === null) return undefined;
  const expiration = Number(given.expiration);
  if (!Number.isInteger(expiration) || expiration <= now) {
    throw new KvError(
      400,
      `Invalid expiration of ${given.expiration}. Please specify integer greater than the current number of seconds since the UNIX epoch.`,
    );
  }
  if (expiration < now + KV.minTtl) {
    throw new KvError(
      400,
      `Invalid expiration of ${given.expiration}. Expiration times must be at least ${KV.minTtl} seconds in the future.`,
    );
  }
  return expiration;
}

/** Throws KvError if the JSON text of an entry's metadata is none, or too long. */
export function checkMetadata(text: string): void {
  const length = Buffer.byteLength(text);
  if (length > KV.metadataBytes) {
    throw new KvError(413, `Metadata length of ${length} exceeds limit of ${KV.metadataBytes}.`);
  }
  try {
    JSON.parse(text);
  } catch {
    throw new KvError(400, 'Metadata must be valid JSON.');
  }
}

/** How many keys a list gives. Throws KvError. */
export function listLimit(given: string | null | undefined): number {
  if (given === null || given === undefined) return KV.listKeys;
  const limit = Number(given);
  if (!Number.isInteger(limit) || limit < 1) {
    throw new KvError(400, `Invalid key_count_limit of ${given}. Please specify an integer greater than 0.`);
  }
  if (limit > KV.listKeys) {
    throw new KvError(400, `Invalid key_count_limit of ${given}. Please specify an integer less than ${KV.listKeys}.`);
  }
  return limit;
}

/** Throws KvError if a reader asks for a shorter caching time than there is. */
export function checkCacheTtl(given: string | null | undefined): void {
  if (given === null || given === undefined) return;
  const ttl = Number(given);
  if (!Number.isInteger(ttl) || ttl < KV.minCacheTtl) {
    throw new KvError(400, `Invalid cache_ttl of ${given}. Cache TTL must be at least ${KV.minCacheTtl}.`);
  }
}
