/**
 * Entries of all KV namespaces of a PoP. Small values stand in the entry's document; larger ones are blobs, each of its own (a random
 * beginning makes its hash unique), so that a blob goes with its entry and nobody else's is meant.
 *
 * A write is durable when it resolves. Readers see the whole old or the whole new entry.
 */
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import type { Blobs } from '../../state/blobs.ts';
import type { Entry, Ledger } from '../../state/ledger.ts';
import { ledgerKey, nameOf } from '../../state/ordered-keys.ts';
import { KV, KvError } from './limits.ts';

/** Larger values are blobs. Lists read the documents, so they stay small. */
const INLINE_BYTES = 8 * 1024;
const SALT_BYTES = 16;
/** Documents read at once by lists and sweeps. */
const PAGE = 500;

/** A stored entry. One of `text`, `bytes` and `blob` has the value. */
interface Document {
  text?: string;
  /** Base64, for what is no UTF-8. */
  bytes?: string;
  blob?: string;
  size: number;
  /** Seconds since 1970. */
  expiration?: number;
  /** JSON text. */
  metadata?: string;
}

export interface KvValue {
  size: number;
  /** JSON text, null if there is none. */
  metadata: string | null;
  /** Seconds since 1970. */
  expiration: number | null;
  /** The whole value, or a stream of it if it is large; that breaks off if the stored bytes are not what was put. */
  body: Buffer | Readable;
}

export interface KvListed {
  name: string;
  expiration?: number;
  metadata?: unknown;
}

export interface KvPut {
  key: string;
  value: Buffer | Readable;
  expiration?: number;
  metadata?: string;
}

export class KvStore {
  readonly #ledger: Ledger;
  readonly #blobs: Blobs;

  constructor(ledger: Ledger, blobs: Blobs) {
    this.#ledger = ledger;
    this.#blobs = blobs;
  }

  async get(namespace: string, key: string): Promise<KvValue | null> {
    // An entry that is overwritten between its document and its blob has another document by then.
    for (let tries = 0; tries < 3; tries++) {
      const document = await this.#read(namespace, key);
      if (!document) return null;
      const body = await this.#body(document);
      if (!body) continue;
      const { size, metadata = null, expiration = null } = document;
      return { size, metadata, expiration, body };
    }
    throw new Error(`the value of a key in namespace ${namespace} is missing`);
  }

  /**
   * Many values at once, by key; null for what is not there. With `withMetadata` each is `{ value, metadata }`. Throws KvError above 25 MiB
   * together, or for a value that is no JSON.
   */
  async bulkGet(
    namespace: string,
    keys: string[],
    type: 'text' | 'json',
    withMetadata: boolean,
  ): Promise<Record<string, unknown>> {
    const values: [string, unknown][] = [];
    let size = 0;
    for (const key of keys) {
      const found = await this.get(namespace, key);
      size += found?.size ?? 0;
      if (size > KV.valueBytes) {
        if (found?.body instanceof Readable) found.body.destroy();
        throw new KvError(413, `Total size of values exceeds limit of ${KV.valueBytes}.`);
      }
      if (!found) {
        values.push([key, null]);
        continue;
      }
      const text = String(found.body instanceof Readable ? await buffer(found.body) : found.body);
      const value = type === 'json' ? parsed(text, key) : text;
      const metadata = found.metadata === null ? null : JSON.parse(found.metadata);
      values.push([key, withMetadata ? { value, metadata } : value]);
    }
    return Object.fromEntries(values);
  }

  /** Stores entries; keys, expirations and metadata are checked by the caller. Throws KvError for a value that is too long. */
  async put(namespace: string, puts: KvPut[]): Promise<void> {
    const documents: Document[] = [];
    const replaced: string[] = [];
    try {
      for (const { value, expiration, metadata } of puts) {
        documents.push({
          ...(await this.#keep(value)),
          ...(expiration !== undefined && { expiration }),
          ...(metadata !== undefined && { metadata }),
        });
      }
      for (const { key } of puts) {
        const before = await this.#ledger.get<Document>(ledgerKey(namespace, key));
        if (before?.value.blob) replaced.push(before.value.blob);
      }
      await this.#ledger.write(puts.map(({ key }, i) => ({ key: ledgerKey(namespace, key), value: documents[i] })));
    } catch (error) {
      await this.#drop(documents.flatMap(({ blob }) => blob ?? []));
      throw error;
    }
    await this.#drop(replaced);
  }

  async delete(namespace: string, keys: string[]): Promise<void> {
    const found: Entry<Document>[] = [];
    for (const key of keys) {
      const entry = await this.#ledger.get<Document>(ledgerKey(namespace, key));
      if (entry) found.push(entry);
    }
    await this.#ledger.write(found.map(({ key }) => ({ key, value: null })));
    await this.#drop(found.flatMap(({ value }) => value.blob ?? []));
  }

  /** Keys in the order of their UTF-8 bytes. `after`: the key behind which to go on. `next`: the same for the next page, null at the end. */
  async list(
    namespace: string,
    { prefix = '', limit, after }: { prefix?: string; limit: number; after?: string },
  ): Promise<{ keys: KvListed[]; next: string | null }> {
    const keys: KvListed[] = [];
    const now = Date.now() / 1000;
    let behind = after === undefined ? undefined : ledgerKey(namespace, after);
    for (;;) {
      const page = await this.#ledger.list<Document>(ledgerKey(namespace, prefix), {
        after: behind,
        limit: Math.min(PAGE, limit + 1 - keys.length),
      });
      for (const { key, value } of page) {
        if (isExpired(value, now)) continue;
        const { expiration, metadata } = value;
        keys.push({
          name: nameOf(key, namespace),
          ...(expiration !== undefined && { expiration }),
          ...(metadata !== undefined && { metadata: JSON.parse(metadata) }),
        });
      }
      // One more than asked for tells whether there is more.
      if (keys.length > limit) return { keys: keys.slice(0, limit), next: keys[limit - 1]!.name };
      if (page.length === 0) return { keys, next: null };
      behind = page.at(-1)!.key;
    }
  }

  /** Deletes all entries of a namespace. */
  async clear(namespace: string): Promise<void> {
    for await (const page of this.#pages(`${namespace}/`)) await this.#remove(page);
  }

  /** Deletes what has expired, page by page; `pause` is awaited between two. */
  async sweep(pause: () => Promise<unknown>): Promise<void> {
    for await (const page of this.#pages('')) {
      const now = Date.now() / 1000;
      await this.#remove(page.filter(({ value }) => isExpired(value, now)));
      await pause();
    }
  }

  async *#pages(prefix: string): AsyncGenerator<Entry<Document>[]> {
    for (let after: string | undefined; ; ) {
      const page = await this.#ledger.list<Document>(prefix, { after, limit: PAGE });
      if (page.length === 0) return;
      yield page;
      after = page.at(-1)!.key;
    }
  }

  async #remove(entries: Entry<Document>[]): Promise<void> {
    await this.#ledger.write(entries.map(({ key }) => ({ key, value: null })));
    await this.#drop(entries.flatMap(({ value }) => value.blob ?? []));
  }

  async #read(namespace: string, key: string): Promise<Document | null> {
    const entry = await this.#ledger.get<Document>(ledgerKey(namespace, key));
    return entry && !isExpired(entry.value, Date.now() / 1000) ? entry.value : null;
  }

  /** Null if the blob is gone. */
  async #body({ text, bytes, blob }: Document): Promise<Buffer | Readable | null> {
    if (blob === undefined) return text === undefined ? Buffer.from(bytes ?? '', 'base64') : Buffer.from(text);
    const stream = await this.#blobs.stream(blob);
    return stream && withoutSalt(stream);
  }

  /** Stores a value where it belongs. */
  async #keep(value: Buffer | Readable): Promise<Pick<Document, 'text' | 'bytes' | 'blob' | 'size'>> {
    const pieces = value instanceof Readable ? value[Symbol.asyncIterator]() : [value].values();
    const first: Buffer[] = [];
    let size = 0;
    const next = async (): Promise<Buffer | null> => {
      const { done, value: piece } = await pieces.next();
      if (done) return null;
      size += (piece as Buffer).length;
      if (size > KV.valueBytes) throw new KvError(413, `Value length of ${size} exceeds limit of ${KV.valueBytes}.`);
      return piece as Buffer;
    };
    while (size <= INLINE_BYTES) {
      const piece = await next();
      if (!piece) return { ...inline(Buffer.concat(first)), size };
      first.push(piece);
    }
    const salted = async function* () {
      yield randomBytes(SALT_BYTES);
      yield* first;
      for (let piece = await next(); piece; piece = await next()) yield piece;
    };
    const { hash } = await this.#blobs.put(Readable.from(salted(), { objectMode: false }));
    return { blob: hash, size };
  }

  async #drop(blobs: string[]): Promise<void> {
    for (const blob of blobs) await this.#blobs.delete(blob);
  }
}

function parsed(text: string, key: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new KvError(400, `At least one of the requested keys corresponds to a value that is not JSON: ${key}`);
  }
}

function isExpired({ expiration }: Document, now: number): boolean {
  return expiration !== undefined && expiration <= now;
}

function inline(value: Buffer): Pick<Document, 'text' | 'bytes'> {
  const text = value.toString();
  return Buffer.from(text).equals(value) ? { text } : { bytes: value.toString('base64') };
}

async function* skipping(stream: Readable, count: number): AsyncGenerator<Buffer> {
  let left = count;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    if (chunk.length <= left) left -= chunk.length;
    else {
      yield left > 0 ? chunk.subarray(left) : chunk;
      left = 0;
    }
  }
}

function withoutSalt(stream: Readable): Readable {
  return Readable.from(skipping(stream, SALT_BYTES), { objectMode: false });
}
