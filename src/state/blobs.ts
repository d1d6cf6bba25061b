/**
 * Blobs: immutable content named by its SHA-256 (64 hex digits). Drivers: `file-blobs.ts` (embedded); all pass
 * `blobs.conformance.ts`. Putting the same content twice is one blob.
 */
import type { Readable } from 'node:stream';

export class BlobCorrupted extends Error {
  override name = 'BlobCorrupted';
}

export interface Blobs {
  /** Stores durably and returns the hash. A failed or aborted put leaves nothing. */
  put(content: Uint8Array | Readable): Promise<{ hash: string; sizeBytes: number }>;
  /** The whole content, checked against its hash (throws BlobCorrupted); null if absent. */
  get(hash: string): Promise<Buffer | null>;
  /** Size in bytes, null if absent. */
  size(hash: string): Promise<number | null>;
  /**
   * A stream of bytes start..end (both inclusive, as in HTTP ranges), in chunks of about `chunkBytes`; null if absent. Whole reads are
   * checked by hash.
   */
  stream(hash: string, range?: { start: number; end: number; chunkBytes?: number }): Promise<Readable | null>;
  delete(hash: string): Promise<void>;
  close(): Promise<void>;
}
