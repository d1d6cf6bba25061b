/**
 * The embedded Ledger: one SQLite file in WAL mode with a row per key. A row keeps only the newest write; a deletion stays as a
 * tombstone, so that a follower learns of it however long it was away. Several processes open the same file.
 */
import { type FSWatcher, watch as watchFile } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { setImmediate as turn } from 'node:timers/promises';
import { log, reason } from '../model/log.ts';
import { DamagedState } from './damaged.ts';
import { type Change, type Entry, type Ledger, MAX_DOCUMENT_BYTES, RevisionConflict, type Write } from './ledger.ts';
import { createPrivate } from './private-file.ts';

/** Fallback for writes of other processes when the file system does not tell of them. */
const POLL_MS = 100;
/**
 * The log file changes before the commit can be read (the writer still waits for the disk), and reading it then finds nothing new:
 * it is looked at again after these times.
 */
const LOOK_AGAIN_MS = [1, 3, 8, 20, 45];
/** Pause before a follower that failed is given the same changes again. */
const RETRY_MS = 1_000;
const MAX_KEY_LENGTH = 4_096;
const BUSY_TIMEOUT_MS = 5_000;
const SCHEMA_VERSION = 1;

const SCHEMA = `
  CREATE TABLE documents (
    key TEXT PRIMARY KEY,
    value TEXT,
    sequence INTEGER NOT NULL UNIQUE
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE counter (id INTEGER PRIMARY KEY CHECK (id = 1), sequence INTEGER NOT NULL) STRICT;
  INSERT INTO counter VALUES (1, 0);
`;

interface Row {
  key: string;
  value: string | null;
  sequence: number;
}

/** A write as it goes to the disk: `text` is JSON, null for a deletion, undefined for a condition alone. */
export interface RawWrite {
  key: string;
  text: string | null | undefined;
  /** Undefined: whatever is there. */
  expected?: number;
}

interface Watcher {
  position: number;
  handler: (changes: Change[]) => void | Promise<void>;
  running: boolean;
  stopped: boolean;
}

/** Opens or creates the ledger at `path`. Throws DamagedState with one clear sentence if the file is not a sound ledger. */
export function openSqliteLedger(path: string): SqliteLedger {
  return new SqliteLedger(path);
}

export class SqliteLedger implements Ledger {
  readonly #db: DatabaseSync;
  readonly #path: string;
  readonly #watchers = new Set<Watcher>();
  readonly #statements: Record<
    'get' | 'list' | 'listAfter' | 'changes' | 'sequence' | 'bump' | 'write' | 'forget' | 'dataVersion',
    StatementSync
  >;
  #fileWatcher: FSWatcher | null = null;
  #poll: NodeJS.Timeout | null = null;
  #look: NodeJS.Timeout | null = null;
  #dataVersion: unknown;

  constructor(path: string) {
    this.#path = path;
    createPrivate(path);
    try {
      this.#db = new DatabaseSync(path);
      this.#db.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;`);
      this.#createOrCheck();
    } catch (error) {
      if (error instanceof DamagedState) throw error;
      throw new DamagedState(path, error instanceof Error ? error.message : String(error));
    }
    const prepare = (sql: string) => this.#db.prepare(sql);
    this.#statements = {
      get: prepare('SELECT key, value, sequence FROM documents WHERE key = ?'),
      // A prefix is a range of keys: from itself to itself with the last code point raised. One lower bound each: of two SQLite takes the
      // first, and reads all that is before the other one.
      list: prepare(
        'SELECT key, value, sequence FROM documents WHERE key >= ? AND key < ? AND value IS NOT NULL ORDER BY key LIMIT ?',
      ),
      listAfter: prepare(
        'SELECT key, value, sequence FROM documents WHERE key > ? AND key < ? AND value IS NOT NULL ORDER BY key LIMIT ?',
      ),
      changes: prepare('SELECT key, value, sequence FROM documents WHERE sequence > ? ORDER BY sequence LIMIT 1000'),
      sequence: prepare('SELECT sequence FROM counter'),
      bump: prepare('UPDATE counter SET sequence = sequence + 1 RETURNING sequence'),
      write: prepare('INSERT OR REPLACE INTO documents (key, value, sequence) VALUES (?, ?, ?)'),
      forget: prepare(
        'DELETE FROM documents WHERE key IN (SELECT key FROM documents WHERE value IS NULL AND sequence <= ? LIMIT 1000)',
      ),
      dataVersion: prepare('PRAGMA data_version'),
    };
  }

  async get<T>(key: string): Promise<Entry<T> | null> {
    const row = this.#read(key);
    return row && row.value !== null ? toEntry<T>(row) : null;
  }

  async list<T>(prefix: string, options: { after?: string; limit?: number } = {}): Promise<Entry<T>[]> {
    const { after, limit = -1 } = options;
    // By their UTF-8 bytes, as SQLite compares them.
    const isWithin = after !== undefined && Buffer.compare(Buffer.from(after), Buffer.from(prefix)) >= 0;
    const end = endOfPrefix(prefix);
    const rows = isWithin
      ? this.#statements.listAfter.all(after, end, limit)
      : this.#statements.list.all(prefix, end, limit);
    return (rows as unknown as Row[]).map((row) => toEntry<T>(row));
  }

  async put(key: string, value: unknown, expected?: number): Promise<number> {
    const [revisions] = this.commit([[{ key, text: toText(key, value), expected }]]);
    if (revisions instanceof Error) throw revisions;
    return revisions![0]!;
  }

  async write(writes: Write[]): Promise<void> {
    const [revisions] = this.commit([toRaw(writes)]);
    if (revisions instanceof Error) throw revisions;
  }

  async compact(upTo: number): Promise<void> {
    while (Number(this.#statements.forget.run(upTo).changes) > 0) await turn();
  }

  async delete(key: string, expected?: number): Promise<void> {
    const row = this.#read(key);
    if (!row || row.value === null) {
      if (expected) throw new RevisionConflict(key);
      return;
    }
    const [revisions] = this.commit([[{ key, text: null, expected }]]);
    if (revisions instanceof Error) throw revisions;
  }

  async sequence(): Promise<number> {
    return (this.#statements.sequence.get() as unknown as { sequence: number }).sequence;
  }

  watch(from: number, handler: (changes: Change[]) => void | Promise<void>): () => void {
    const watcher: Watcher = { position: from, handler, running: false, stopped: false };
    this.#watchers.add(watcher);
    this.#listen();
    this.#wake();
    return () => {
      watcher.stopped = true;
      this.#watchers.delete(watcher);
      if (this.#watchers.size === 0) this.#stopListening();
    };
  }

  async close(): Promise<void> {
    for (const watcher of this.#watchers) watcher.stopped = true;
    this.#watchers.clear();
    this.#stopListening();
    if (this.#db.isOpen) this.#db.close();
  }

  #createOrCheck(): void {
    const version = this.#schemaVersion();
    if (version === 0) {
      this.#transaction(() => {
        const { n: tables } = this.#db.prepare('SELECT count(*) AS n FROM sqlite_schema').get() as { n: number };
        if (tables === 0) this.#db.exec(`${SCHEMA}; PRAGMA user_version = ${SCHEMA_VERSION}`);
        // Another process was faster, or it is another program's file.
        else if (this.#schemaVersion() === 0) throw new DamagedState(this.#path, 'it is a database of another program');
      });
    } else if (version !== SCHEMA_VERSION) {
      throw new DamagedState(this.#path, `its schema is version ${version}, this Selvedge knows ${SCHEMA_VERSION}`);
    }
    // Behind the schema's version: what is only faster with it needs no other one.
    this.#db.exec('CREATE INDEX IF NOT EXISTS deletions ON documents (sequence) WHERE value IS NULL');
    const check = this.#db.prepare('PRAGMA quick_check(1)').get() as { quick_check: string };
    if (check.quick_check !== 'ok') throw new DamagedState(this.#path, check.quick_check);
  }

  #schemaVersion(): number {
    return (this.#db.prepare('PRAGMA user_version').get() as { user_version: number }).user_version;
  }

  #read(key: string): Row | undefined {
    return this.#statements.get.get(key) as unknown as Row | undefined;
  }

  /**
   * One transaction, on disk when it returns: of each group the new revisions of its writes, or the conflict that kept all of them out. Waits
   * for the disk.
   */
  commit(groups: RawWrite[][]): (number[] | RevisionConflict)[] {
    const revisions = this.#transaction(() =>
      groups.map((writes) => {
        const conflict = writes.find((write) => !this.#isExpected(write));
        if (conflict) return new RevisionConflict(conflict.key);
        return writes.map(({ key, text, expected = 0 }) => {
          if (text === undefined) return expected;
          const { sequence } = this.#statements.bump.get() as unknown as { sequence: number };
          this.#statements.write.run(key, text, sequence);
          return sequence;
        });
      }),
    );
    this.#wake();
    return revisions;
  }

  #isExpected({ key, expected }: RawWrite): boolean {
    if (expected === undefined) return true;
    const row = this.#read(key);
    return (row && row.value !== null ? row.sequence : 0) === expected;
  }

  #transaction<T>(work: () => T): T {
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      const result = work();
      this.#db.exec('COMMIT');
      return result;
    } catch (error) {
      // SQLite has done so by itself when the disk is full: a second one would hide that.
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      throw error;
    }
  }

  /** Learns of other processes' commits: the log file changes, or at the latest the poll sees another data version. */
  #listen(): void {
    if (this.#poll) return;
    this.#dataVersion = this.#readDataVersion();
    this.#poll = setInterval(() => this.noticed(), POLL_MS).unref();
    try {
      this.#fileWatcher = watchFile(`${this.#path}-wal`, { persistent: false }, () => this.#lookAgain(0));
      this.#fileWatcher.on('error', () => this.#fileWatcher?.close());
    } catch (error) {
      log('warn', 'writes of other processes are seen by polling only', { error: reason(error) });
    }
  }

  /** Looks whether another process committed, with pauses, until it did or the poll would see it anyway. */
  #lookAgain(attempt: number): void {
    if (this.#look) clearTimeout(this.#look);
    this.#look = null;
    if (!this.#poll || this.noticed()) return;
    const pauseMs = LOOK_AGAIN_MS[attempt];
    if (pauseMs !== undefined) this.#look = setTimeout(() => this.#lookAgain(attempt + 1), pauseMs).unref();
  }

  /** Wakes the followers if another connection committed since the last call. */
  noticed(): boolean {
    const version = this.#readDataVersion();
    if (version === this.#dataVersion) return false;
    this.#dataVersion = version;
    this.#wake();
    return true;
  }

  #stopListening(): void {
    if (this.#poll) clearInterval(this.#poll);
    this.#poll = null;
    if (this.#look) clearTimeout(this.#look);
    this.#look = null;
    this.#fileWatcher?.close();
    this.#fileWatcher = null;
  }

  #readDataVersion(): unknown {
    return (this.#statements.dataVersion.get() as { data_version: unknown }).data_version;
  }

  #wake(): void {
    for (const watcher of this.#watchers) if (!watcher.running) void this.#deliver(watcher);
  }

  async #deliver(watcher: Watcher): Promise<void> {
    watcher.running = true;
    // Never within the caller's write.
    await Promise.resolve();
    try {
      while (!watcher.stopped && this.#db.isOpen) {
        const rows = this.#statements.changes.all(watcher.position) as unknown as Row[];
        if (rows.length === 0) break;
        await watcher.handler(
          rows.map(({ key, value, sequence }) => ({ sequence, key, value: value === null ? null : JSON.parse(value) })),
        );
        watcher.position = rows.at(-1)!.sequence;
      }
      watcher.running = false;
    } catch (error) {
      // A gap would make the follower wrong for ever: it gets the same changes again.
      log('error', 'a follower of the ledger failed; it is given the changes again', { error: reason(error) });
      setTimeout(() => void this.#deliver(watcher), RETRY_MS).unref();
    }
  }
}

export function toRaw(writes: Write[]): RawWrite[] {
  return writes.map(({ key, value, expected }) => ({
    key,
    text: value == null ? value : toText(key, value),
    expected,
  }));
}

/** Throws TypeError or RangeError for what cannot be stored. */
export function toText(key: string, value: unknown): string {
  // Lone surrogates and NUL do not come back from SQLite as they went in.
  if (key === '' || key.length > MAX_KEY_LENGTH || !key.isWellFormed() || key.includes('\0')) {
    throw new TypeError(`not a key: ${JSON.stringify(key.slice(0, 100))}`);
  }
  if (value === null || value === undefined) throw new TypeError(`document ${key} has no value`);
  const text = JSON.stringify(value);
  if (Buffer.byteLength(text) > MAX_DOCUMENT_BYTES) {
    throw new RangeError(`document ${key} is larger than ${MAX_DOCUMENT_BYTES} bytes`);
  }
  return text;
}

function toEntry<T>(row: Row): Entry<T> {
  return { key: row.key, value: JSON.parse(row.value!) as T, revision: row.sequence };
}

/** The smallest string that is behind all strings with this prefix. Keys sort by their UTF-8 bytes. */
function endOfPrefix(prefix: string): string {
  return `${prefix}\u{10FFFF}`;
}
