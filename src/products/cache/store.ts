/**
 * Responses of the Cache API on this PoP: documents in a ledger, bodies as blobs, small ones in memory too. Bounded in bytes and entries; the
 * ones that were used longest ago go. It survives a restart, but nothing depends on it: what cannot be read is not there.
 */
import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { LRUCache } from 'lru-cache';
import { log, reason } from '../../model/log.ts';
import type { Blobs } from '../../state/blobs.ts';
import type { Ledger } from '../../state/ledger.ts';
import type { Headers } from './rules.ts';

export interface CacheBudget {
  diskBytes: number;
  memoryBytes: number;
}

export interface Entry {
  status: number;
  statusText: string;
  headers: Headers;
  /** Of the body. */
  size: number;
  /** ms since 1970. */
  storedAt: number;
  expiresAt: number;
}

interface Document extends Entry {
  /** Null for an empty body. */
  blob: string | null;
}

const MAX_ENTRIES = 100_000;
/** Of a document, about: an entry without a body has a size too. */
const DOCUMENT_BYTES = 1024;
const MAX_BODY_BYTES = 512 * 1024 * 1024;
/** Larger bodies are not kept in memory. */
const MAX_MEMORY_BODY = 1024 * 1024;
/** Random beginning of each blob: none is shared, so each goes with its entry. */
const SALT_BYTES = 16;
const PREFIX = 'response/';
const PAGE = 1000;

/** The body is larger than the cache keeps. */
export class TooLarge extends Error {
  override name = 'TooLarge';
}

/** Who may see an entry, of which cache, under which URL. */
export interface CacheKey {
  scope: string;
  /** '' for caches.default. */
  namespace: string;
  url: string;
}

export class CacheStore {
  readonly #ledger: Ledger;
  readonly #blobs: Blobs;
  readonly #maxBody: number;
  readonly #entries: LRUCache<string, Document>;
  readonly #bodies: LRUCache<string, Buffer>;
  readonly #removing = new Set<Promise<void>>();

  private constructor(ledger: Ledger, blobs: Blobs, budget: CacheBudget) {
    this.#ledger = ledger;
    this.#blobs = blobs;
    this.#maxBody = Math.min(MAX_BODY_BYTES, Math.floor(budget.diskBytes / 4));
    this.#entries = new LRUCache({
      max: MAX_ENTRIES,
      maxSize: budget.diskBytes,
      sizeCalculation: ({ size }) => size + DOCUMENT_BYTES,
      disposeAfter: (document, id, why) => this.#remove(document, why === 'set' ? null : id),
    });
    this.#bodies = new LRUCache({
      maxSize: Math.max(1, budget.memoryBytes),
      sizeCalculation: (body) => body.length + 1,
    });
  }

  /** Reads what there is on disk. */
  static async open(ledger: Ledger, blobs: Blobs, budget: CacheBudget): Promise<CacheStore> {
    const store = new CacheStore(ledger, blobs, budget);
    for (let after: string | undefined; ; ) {
      const page = await ledger.list<Document>(PREFIX, { after, limit: PAGE });
      for (const { key, value } of page) store.#entries.set(key.slice(PREFIX.length), value);
      if (page.length < PAGE) break;
      after = page.at(-1)!.key;
    }
    // Deletions need not be remembered: nobody follows this ledger.
    await ledger.compact(await ledger.sequence());
    return store;
  }

  /** Null if there is none, or it has expired. */
  find(key: CacheKey): Entry | null {
    const id = idOf(key);
    const document = this.#entries.get(id);
    if (!document) return null;
    if (document.expiresAt > Date.now()) return document;
    this.#entries.delete(id);
    return null;
  }

  /** The body of an entry that was found, or `range` of it (both ends inclusive). Null if it is gone or damaged: then the entry is, too. */
  async body(key: CacheKey, entry: Entry, range?: { start: number; end: number }): Promise<Buffer | Readable | null> {
    const { blob, size } = entry as Document;
    if (blob === null) return Buffer.alloc(0);
    const inMemory = this.#bodies.get(blob);
    if (inMemory) return range ? inMemory.subarray(range.start, range.end + 1) : inMemory;
    try {
      if (size <= MAX_MEMORY_BODY) {
        const salted = await this.#blobs.get(blob);
        if (salted) {
          const body = salted.subarray(SALT_BYTES);
          this.#bodies.set(blob, body);
          return range ? body.subarray(range.start, range.end + 1) : body;
        }
      } else {
        const { start, end } = range ?? { start: 0, end: size - 1 };
        if ((await this.#blobs.size(blob)) === size + SALT_BYTES) {
          return await this.#blobs.stream(blob, { start: start + SALT_BYTES, end: end + SALT_BYTES });
        }
      }
    } catch (error) {
      log('warn', 'a cached response cannot be read', { error: reason(error) });
    }
    this.#entries.delete(idOf(key));
    return null;
  }

  /** Keeps a response. Throws TooLarge, or what the body's stream throws; then the entry that was there stays. */
  async put(key: CacheKey, entry: Omit<Entry, 'size'>, body: AsyncIterable<Buffer>): Promise<void> {
    let size = 0;
    const max = this.#maxBody;
    const salted = async function* () {
      yield randomBytes(SALT_BYTES);
      for await (const chunk of body) {
        size += chunk.length;
        if (size > max) throw new TooLarge(`a cached response may have ${max} bytes`);
        yield chunk;
      }
    };
    const { hash } = await this.#blobs.put(Readable.from(salted(), { objectMode: false }));
    const document: Document = { ...entry, size, blob: hash };
    const id = idOf(key);
    await this.#ledger.put(PREFIX + id, document);
    this.#entries.set(id, document);
  }

  /** True if there was one. */
  delete(key: CacheKey): boolean {
    return this.find(key) !== null && this.#entries.delete(idOf(key));
  }

  /** Resolves when what was evicted is gone from the disk. */
  async settled(): Promise<void> {
    await Promise.all(this.#removing);
  }

  /** What an entry leaves on disk; `id` null: another one has taken its place. */
  #remove({ blob }: Document, id: string | null): void {
    if (blob) this.#bodies.delete(blob);
    const work = async () => {
      if (id !== null && !this.#entries.has(id)) await this.#ledger.delete(PREFIX + id);
      if (blob) await this.#blobs.delete(blob);
    };
    const removing = work()
      .catch((error: unknown) => log('warn', 'a cached response was not removed', { error: reason(error) }))
      .finally(() => this.#removing.delete(removing));
    this.#removing.add(removing);
  }
}

function idOf({ scope, namespace, url }: CacheKey): string {
  return createHash('sha256')
    .update(JSON.stringify([scope, namespace, url]))
    .digest('hex');
}
