/**
 * The embedded store of messages: one SQLite file in WAL mode, opened by several processes and threads. Bodies have a table of their own,
 * so that a delivery rewrites a few bytes and not the message.
 */
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { DamagedState } from './damaged.ts';
import type {
  Backlog,
  Failing,
  Lease,
  LeasedMessage,
  LeaseRequest,
  NewMessage,
  QueueEntry,
  Settled,
  Settlement,
} from './messages.ts';
import { createPrivate } from './private-file.ts';

const BUSY_TIMEOUT_MS = 5_000;
const SCHEMA_VERSION = 1;

/** AUTOINCREMENT: the key of a queue that is gone, and the place of a message that is gone, are never given again. */
const SCHEMA = `
  CREATE TABLE queues (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    document TEXT NOT NULL,
    count INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    removed INTEGER NOT NULL DEFAULT 0,
    UNIQUE (account, name)
  ) STRICT;
  CREATE TABLE bodies (sequence INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL) STRICT;
  CREATE TABLE messages (
    queue INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    id TEXT NOT NULL,
    format TEXT NOT NULL,
    size INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    due INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    leased INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, sequence)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX due ON messages (queue, due);
  CREATE INDEX leased ON messages (queue) WHERE leased = 1;
`;

const STATEMENTS = {
  queues: 'SELECT * FROM queues WHERE removed = 0 ORDER BY key',
  byId: 'SELECT * FROM queues WHERE id = ? AND removed = 0',
  byKey: 'SELECT * FROM queues WHERE key = ? AND removed = 0',
  byName: 'SELECT * FROM queues WHERE account = ? AND name = ?',
  ofAccount: 'SELECT * FROM queues WHERE account = ? ORDER BY name',
  create: 'INSERT OR IGNORE INTO queues (id, account, name, document) VALUES (?, ?, ?, ?)',
  change: 'UPDATE OR IGNORE queues SET name = ?, document = ? WHERE key = ?',
  // Out of its account, so that another queue may have the name.
  remove: "UPDATE queues SET removed = 1, account = '', name = id WHERE key = ?",
  removed: 'SELECT key FROM queues WHERE removed = 1',
  forget: 'DELETE FROM queues WHERE key = ?',
  count: 'UPDATE queues SET count = count + ?, bytes = bytes + ? WHERE key = ?',
  oldest: 'SELECT sent FROM messages WHERE queue = ? ORDER BY sequence LIMIT 1',
  newest: 'SELECT sequence FROM messages WHERE queue = ? ORDER BY sequence DESC LIMIT 1',
  dues: 'SELECT due FROM messages WHERE queue = ? ORDER BY due LIMIT ?',
  addBody: 'INSERT INTO bodies (body) VALUES (?) RETURNING sequence',
  copyBody: 'INSERT INTO bodies (body) SELECT body FROM bodies WHERE sequence = ? RETURNING sequence',
  body: 'SELECT body FROM bodies WHERE sequence = ?',
  dropBody: 'DELETE FROM bodies WHERE sequence = ?',
  add: 'INSERT INTO messages (queue, sequence, id, format, size, sent, due) VALUES (?, ?, ?, ?, ?, ?, ?)',
  get: 'SELECT * FROM messages WHERE queue = ? AND sequence = ?',
  drop: 'DELETE FROM messages WHERE queue = ? AND sequence = ?',
  ready: 'SELECT * FROM messages WHERE queue = ? AND due <= ? ORDER BY due, sequence LIMIT ?',
  update: 'UPDATE messages SET due = ?, attempts = ?, leased = ? WHERE queue = ? AND sequence = ?',
  releaseAll: 'UPDATE messages SET due = sent, attempts = attempts - 1, leased = 0 WHERE queue = ? AND leased = 1',
  first: 'SELECT * FROM messages WHERE queue = ? AND sequence <= ? ORDER BY sequence LIMIT ?',
};

interface QueueRow {
  key: number;
  id: string;
  account: string;
  name: string;
  document: string;
  count: number;
  bytes: number;
}

interface MessageRow extends Lease {
  queue: number;
  format: string;
  size: number;
  sent: number;
  due: number;
}

export class SqliteMessages {
  readonly #db: DatabaseSync;
  readonly #path: string;
  readonly #do: Record<keyof typeof STATEMENTS, StatementSync>;

  /** Opens or creates the file. Throws DamagedState. */
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
    const prepared = Object.entries(STATEMENTS).map(([name, sql]) => [name, this.#db.prepare(sql)]);
    this.#do = Object.fromEntries(prepared);
  }

  queues(): QueueEntry[] {
    return (this.#do.queues.all() as unknown as QueueRow[]).map(toEntry);
  }

  byId(id: string): QueueEntry | null {
    return this.#queue(this.#do.byId, id);
  }

  byName(accountId: string, name: string): QueueEntry | null {
    return this.#queue(this.#do.byName, accountId, name);
  }

  ofAccount(accountId: string): QueueEntry[] {
    return (this.#do.ofAccount.all(accountId) as unknown as QueueRow[]).map(toEntry);
  }

  backlog(queue: number): Backlog {
    const { count = 0, bytes = 0 } = (this.#do.byKey.get(queue) as unknown as QueueRow | undefined) ?? {};
    const oldest = this.#do.oldest.get(queue) as { sent: number } | undefined;
    return { count, bytes, oldest: oldest?.sent ?? 0 };
  }

  dues(queue: number, limit: number): number[] {
    return (this.#do.dues.all(queue, limit) as { due: number }[]).map(({ due }) => due);
  }

  /** Null if it is gone. */
  body(sequence: number): Uint8Array | null {
    return (this.#do.body.get(sequence) as { body: Uint8Array } | undefined)?.body ?? null;
  }

  /** Runs `work` in one transaction, on disk when it returns. Waits for the disk and for other processes. */
  transaction<T>(work: () => T): T {
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      const result = work();
      this.#db.exec('COMMIT');
      return result;
    } catch (error) {
      this.#db.exec('ROLLBACK');
      throw error;
    }
  }

  // What follows changes the file: to be called within a transaction.

  create({ id, accountId, name, document }: Pick<QueueEntry, 'id' | 'accountId' | 'name' | 'document'>): boolean {
    return this.#do.create.run(id, accountId, name, JSON.stringify(document)).changes === 1;
  }

  change(queue: number, name: string, document: unknown): boolean {
    return this.#do.change.run(name, JSON.stringify(document), queue).changes === 1;
  }

  /** Nobody finds the queue any more; its messages are there until they are dropped, and then `forget` ends it. */
  remove(queue: number): void {
    this.#do.remove.run(queue);
  }

  forget(queue: number): void {
    this.#do.forget.run(queue);
  }

  send(queue: number, messages: NewMessage[], now: number, maxBytes: number): Backlog | 'absent' | 'full' {
    const row = this.#do.byKey.get(queue) as unknown as QueueRow | undefined;
    if (!row) return 'absent';
    const bytes = messages.reduce((sum, { body }) => sum + body.length, 0);
    if (row.bytes + bytes > maxBytes) return 'full';
    for (const { id, format, body, due } of messages) {
      const { sequence } = this.#do.addBody.get(body) as { sequence: number };
      this.#do.add.run(queue, sequence, id, format, body.length, now, due);
    }
    this.#do.count.run(messages.length, bytes, queue);
    return this.backlog(queue);
  }

  lease({ queue, now, until, limit, limitBytes, keepFrom, ...failing }: LeaseRequest): {
    leased: Omit<LeasedMessage, 'body'>[];
    dead: string[];
  } {
    const leased: Omit<LeasedMessage, 'body'>[] = [];
    const dead: string[] = [];
    let bytes = 0;
    while (leased.length < limit && bytes < limitBytes) {
      const rows = this.#do.ready.all(queue, now, limit - leased.length) as unknown as MessageRow[];
      if (rows.length === 0) break;
      for (const row of rows) {
        if (row.sent < keepFrom) this.#drop(row);
        else if (row.attempts > failing.maxRetries) dead.push(this.#bury(row, failing, now));
        else {
          if (bytes >= limitBytes) break;
          bytes += row.size;
          const attempts = row.attempts + 1;
          this.#do.update.run(until, attempts, 1, queue, row.sequence);
          leased.push({ sequence: row.sequence, id: row.id, format: row.format, sent: row.sent, attempts });
        }
      }
    }
    return { leased, dead };
  }

  settle({ queue, now, acks, retries, ...failing }: Settlement): Settled {
    const settled: Settled = { acked: 0, retried: 0, dead: [] };
    for (const lease of acks) {
      const row = this.#message(queue, lease);
      if (!row) continue;
      this.#drop(row);
      settled.acked++;
    }
    for (const { due, ...lease } of retries) {
      const row = this.#message(queue, lease);
      if (!row || row.attempts !== lease.attempts) continue;
      if (row.attempts > failing.maxRetries) settled.dead.push(this.#bury(row, failing, now));
      else {
        this.#do.update.run(due, row.attempts, 0, queue, row.sequence);
        settled.retried++;
      }
    }
    return settled;
  }

  release(queue: number, leases: Lease[]): void {
    for (const lease of leases) {
      const row = this.#message(queue, lease);
      if (row?.attempts === lease.attempts) this.#do.update.run(row.sent, row.attempts - 1, 0, queue, row.sequence);
    }
  }

  releaseAll(queue: number): void {
    this.#do.releaseAll.run(queue);
  }

  /** Sequence of the newest message of a queue; 0 if there is none. */
  newest(queue: number): number {
    return (this.#do.newest.get(queue) as { sequence: number } | undefined)?.sequence ?? 0;
  }

  /** Deletes the first messages of a queue, at most `limit`: up to a place, and if `before` is given only while they are older. */
  dropFirst(queue: number, upTo: number, limit: number, before?: number): number {
    const rows = this.#do.first.all(queue, upTo, limit) as unknown as MessageRow[];
    // They stand in the order in which they were sent.
    const young = before === undefined ? -1 : rows.findIndex(({ sent }) => sent >= before);
    const gone = young < 0 ? rows : rows.slice(0, young);
    for (const row of gone) this.#drop(row);
    return gone.length;
  }

  /** Queues whose removal was not finished. */
  removed(): number[] {
    return (this.#do.removed.all() as { key: number }[]).map(({ key }) => key);
  }

  close(): void {
    if (this.#db.isOpen) this.#db.close();
  }

  #queue(statement: StatementSync, ...values: string[]): QueueEntry | null {
    const row = statement.get(...values) as unknown as QueueRow | undefined;
    return row ? toEntry(row) : null;
  }

  /** Whoever names a message has to know its id: places in the order can be guessed. */
  #message(queue: number, { sequence, id }: Lease): MessageRow | null {
    const row = this.#do.get.get(queue, sequence) as unknown as MessageRow | undefined;
    return row?.id === id ? row : null;
  }

  #drop({ queue, sequence, size }: MessageRow): void {
    this.#do.drop.run(queue, sequence);
    this.#do.dropBody.run(sequence);
    this.#do.count.run(-1, -size, queue);
  }

  /** To the dead letters, as a message that was sent just now, if there is such a queue; gone otherwise. Returns its id. */
  #bury(row: MessageRow, { deadLetters }: Failing, now: number): string {
    if (deadLetters !== null && this.#do.byKey.get(deadLetters)) {
      const { sequence } = this.#do.copyBody.get(row.sequence) as { sequence: number };
      this.#do.add.run(deadLetters, sequence, row.id, row.format, row.size, now, now);
      this.#do.count.run(1, row.size, deadLetters);
    }
    this.#drop(row);
    return row.id;
  }

  #createOrCheck(): void {
    const version = this.#schemaVersion();
    if (version === 0) {
      this.transaction(() => {
        const { n: tables } = this.#db.prepare('SELECT count(*) AS n FROM sqlite_schema').get() as { n: number };
        if (tables === 0) this.#db.exec(`${SCHEMA}; PRAGMA user_version = ${SCHEMA_VERSION}`);
        // Another process was faster, or it is another program's file.
        else if (this.#schemaVersion() === 0) throw new DamagedState(this.#path, 'it is a database of another program');
      });
    } else if (version !== SCHEMA_VERSION) {
      throw new DamagedState(this.#path, `its schema is version ${version}, this Selvedge knows ${SCHEMA_VERSION}`);
    }
  }

  #schemaVersion(): number {
    return (this.#db.prepare('PRAGMA user_version').get() as { user_version: number }).user_version;
  }
}

function toEntry({ key, id, account, name, document, count, bytes }: QueueRow): QueueEntry {
  return { key, id, accountId: account, name, document: JSON.parse(document), count, bytes };
}
