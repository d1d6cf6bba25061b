/**
 * Ledger: an ordered log of small JSON documents with revisions. The truth of the whole system; written by the core,
 * followed by every PoP. Drivers: `sqlite-ledger.ts` (embedded); all pass `ledger.conformance.ts`.
 */

/** Largest document, in bytes of JSON. Larger things are blobs. */
export const MAX_DOCUMENT_BYTES = 1024 * 1024;

/** A document as read. `revision` is the sequence number of its last write, the compare value of `put`. */
export interface Entry<T = unknown> {
  key: string;
  value: T;
  revision: number;
}

/** One write as seen by a follower. `value: null` is a deletion. */
export interface Change {
  sequence: number;
  key: string;
  value: unknown | null;
}

/** One of many writes. `value: null` deletes, `undefined` leaves it as it is (with `expected`: a condition of the others). */
export interface Write {
  key: string;
  value?: unknown | null;
  /** As in `Ledger.put`. */
  expected?: number;
}

/** The stored revision was not the expected one: somebody else wrote in between. Read again and retry. */
export class RevisionConflict extends Error {
  override name = 'RevisionConflict';
  readonly key: string;
  constructor(key: string) {
    super(`document ${key} was changed by another writer`);
    this.key = key;
  }
}

export interface Ledger {
  /** Reads one document, null if absent or deleted. */
  get<T>(key: string): Promise<Entry<T> | null>;
  /** All documents whose key begins with `prefix`, by key. `after` continues behind a key; `limit` defaults to no limit. */
  list<T>(prefix: string, options?: { after?: string; limit?: number }): Promise<Entry<T>[]>;
  /**
   * Writes durably (on disk when it resolves) and returns the new revision. `expected`: the revision the caller read, 0 for
   * "must not exist", undefined for "whatever is there". Throws RevisionConflict.
   */
  put(key: string, value: unknown, expected?: number): Promise<number>;
  /** Deletes durably; same `expected`. Deleting what is absent succeeds (unless `expected` says otherwise). */
  delete(key: string, expected?: number): Promise<void>;
  /**
   * Puts and deletes many documents: all of them, durable when it resolves, or none. Throws RevisionConflict if one is not in the revision
   * that was expected. A reader may see some before others.
   */
  write(writes: Write[]): Promise<void>;
  /** Forgets deletions up to this sequence number: a follower that is behind it would miss them. */
  compact(upTo: number): Promise<void>;
  /** Sequence number of the newest write. */
  sequence(): Promise<number>;
  /**
   * Calls `handler` with every change after `from`, in order and without gaps, also those of other processes; first what is
   * there already (of a key written many times only its newest write need be reported). The handler is awaited. Returns stop.
   */
  watch(from: number, handler: (changes: Change[]) => void | Promise<void>): () => void;
  close(): Promise<void>;
}
