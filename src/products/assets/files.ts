/** Reads manifests and small files once and keeps them in memory; large files are streamed. Concurrent readers share one read. */
import type { Readable } from 'node:stream';
import type { AssetEntry, AssetManifest } from '../../model/documents.ts';
import type { Blobs } from '../../state/blobs.ts';
import { ByteCache } from './byte-cache.ts';
import type { Manifest } from './html-handling.ts';

/** Larger files are streamed from the blobs. */
const SMALL_FILE_BYTES = 256 * 1024;
/** A parsed manifest takes about this many times its JSON. */
const MANIFEST_WEIGHT = 3;
const MANIFEST_CACHE_BYTES = 64 * 1024 * 1024;

export class AssetFiles {
  readonly #blobs: Blobs;
  readonly #smallBytes: number;
  readonly #contents: ByteCache<Buffer>;
  readonly #manifests = new ByteCache<Manifest>(MANIFEST_CACHE_BYTES);
  readonly #reading = new Map<string, Promise<unknown>>();

  /** `cacheBytes`: memory for the bytes of small files. */
  constructor(blobs: Blobs, cacheBytes: number) {
    this.#blobs = blobs;
    this.#contents = new ByteCache(cacheBytes);
    this.#smallBytes = Math.min(SMALL_FILE_BYTES, Math.floor(cacheBytes / 8));
  }

  /** The manifest with that blob hash. Throws if the blob is missing or damaged. */
  manifest(hash: string): Manifest | Promise<Manifest> {
    return this.#manifests.get(hash) ?? this.#once(`manifest ${hash}`, () => this.#readManifest(hash));
  }

  /** The bytes if they are in memory now. */
  cached(entry: AssetEntry): Buffer | undefined {
    return this.#contents.get(entry.hash);
  }

  /** Bytes `range` (inclusive) of a file, or all of it. Throws if the blob is missing. */
  async read(entry: AssetEntry, range?: { start: number; end: number }): Promise<Buffer | Readable> {
    if (entry.sizeBytes > this.#smallBytes) {
      const stream = await this.#blobs.stream(entry.hash, range);
      if (!stream) throw new Error(`the blob ${entry.hash} of an asset is missing`);
      return stream;
    }
    const bytes = this.cached(entry) ?? (await this.#once(entry.hash, () => this.#readSmall(entry)));
    return range ? bytes.subarray(range.start, range.end + 1) : bytes;
  }

  async #readSmall(entry: AssetEntry): Promise<Buffer> {
    const bytes = await this.#blobs.get(entry.hash);
    if (!bytes) throw new Error(`the blob ${entry.hash} of an asset is missing`);
    // An entry of the cache costs its key and objects too.
    this.#contents.set(entry.hash, bytes, bytes.length + 256);
    return bytes;
  }

  async #readManifest(hash: string): Promise<Manifest> {
    const json = await this.#blobs.get(hash);
    if (!json) throw new Error(`the asset manifest ${hash} is missing`);
    const manifest = new Map(Object.entries(JSON.parse(json.toString('utf8')) as AssetManifest));
    this.#manifests.set(hash, manifest, json.length * MANIFEST_WEIGHT + 256);
    return manifest;
  }

  #once<T>(key: string, read: () => Promise<T>): Promise<T> {
    const running = this.#reading.get(key) as Promise<T> | undefined;
    if (running) return running;
    const started = read().finally(() => this.#reading.delete(key));
    this.#reading.set(key, started);
    return started;
  }
}
