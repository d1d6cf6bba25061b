/**
 * What Workers used per account, script and UTC day, kept in a small SQLite file. An amount counts for the day on which it is added. Added
 * amounts are on disk after at most FLUSH_MS: that is what a `kill -9` or a power cut loses.
 */
import { DatabaseSync } from 'node:sqlite';
import { log, reason } from '../model/log.ts';
import { USAGE_FIELDS, type UsageCounts, type UsageRow } from '../model/usage.ts';
import { DamagedState } from './damaged.ts';
import { createPrivate } from './private-file.ts';

export const FLUSH_MS = 5_000;

export interface Usage {
  /** Adds amounts; those that are no positive number count nothing. */
  add(accountId: string, script: string, amounts: Partial<UsageCounts>): void;
  flush(): void;
  /** Rows by day, account and script; `from` and `to` are days, both included. */
  read(filter?: { accountId?: string; script?: string; from?: string; to?: string }): UsageRow[];
  close(): void;
}

/** Whole numbers in the file, so that sums are exact: CPU time in microseconds. */
const COLUMNS: Record<keyof UsageCounts, string> = {
  requests: 'requests',
  errors: 'errors',
  cpuMs: 'cpu_us',
  subrequests: 'subrequests',
  egressBytes: 'egress_bytes',
  ingressBytes: 'ingress_bytes',
  durationMs: 'duration_ms',
};
const scaleOf = (field: keyof UsageCounts) => (field === 'cpuMs' ? 1000 : 1);
const NAMES = Object.values(COLUMNS);

/** Opens or creates the store; one of an older layout (CPU time only) is taken over. Throws DamagedState. */
export function openUsage(path: string): Usage {
  createPrivate(path);
  let db: DatabaseSync;
  try {
    db = new DatabaseSync(path);
    db.exec('PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL');
    migrate(db);
  } catch (error) {
    throw new DamagedState(path, reason(error));
  }
  const upsert = db.prepare(
    `INSERT INTO usage (account, script, day, ${NAMES}) VALUES (?, ?, ?, ${NAMES.map(() => '?')})
     ON CONFLICT DO UPDATE SET ${NAMES.map((name) => `${name} = ${name} + excluded.${name}`)}`,
  );
  /** Amounts in the file's units, with fractions. */
  const buffer = new Map<string, { accountId: string; script: string; day: string; amounts: number[] }>();

  function flush(): void {
    if (buffer.size === 0) return;
    db.exec('BEGIN IMMEDIATE');
    try {
      for (const { accountId, script, day, amounts } of buffer.values()) {
        upsert.run(accountId, script, day, ...amounts.map(Math.floor));
      }
      db.exec('COMMIT');
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK');
      throw error;
    }
    const today = utcDay();
    for (const [key, row] of buffer) {
      // What is less than a unit stays for the next time.
      row.amounts = row.amounts.map((amount) => amount % 1);
      if (row.day !== today || row.amounts.every((amount) => amount === 0)) buffer.delete(key);
    }
  }
  const timer = setInterval(() => {
    try {
      flush();
    } catch (error) {
      // A full disk must not stop the machine: what is buffered is tried again.
      log('error', 'usage could not be written', { error: reason(error) });
    }
  }, FLUSH_MS).unref();

  return {
    add(accountId, script, amounts) {
      const counted = USAGE_FIELDS.map((field) => {
        const amount = amounts[field] ?? 0;
        return amount > 0 && Number.isFinite(amount) ? amount * scaleOf(field) : 0;
      });
      if (counted.every((amount) => amount === 0)) return;
      const day = utcDay();
      const key = `${day}/${accountId}/${script}`;
      const row = buffer.get(key);
      if (row) row.amounts = row.amounts.map((amount, i) => amount + counted[i]!);
      else buffer.set(key, { accountId, script, day, amounts: counted });
    },
    flush,
    read({ accountId, script, from, to } = {}) {
      flush();
      const rows = db
        .prepare(
          `SELECT account AS accountId, script, day, ${NAMES} FROM usage
           WHERE (?1 IS NULL OR account = ?1) AND (?2 IS NULL OR script = ?2) AND (?3 IS NULL OR day >= ?3) AND (?4 IS NULL OR day <= ?4)
           ORDER BY day, account, script`,
        )
        .all(accountId ?? null, script ?? null, from ?? null, to ?? null);
      return rows.map((row) => {
        const counts = USAGE_FIELDS.map((field) => [field, Number(row[COLUMNS[field]]) / scaleOf(field)]);
        const { accountId, script, day } = row as unknown as UsageRow;
        return { accountId, script, day, ...(Object.fromEntries(counts) as unknown as UsageCounts) };
      });
    },
    close() {
      clearInterval(timer);
      flush();
      db.close();
    },
  };
}

/** Makes the table; several processes open the file, so only what is missing is written, and by one of them. */
function migrate(db: DatabaseSync): void {
  const tables = () =>
    db.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('usage', 'cpu')").all();
  const isCurrent = () => tables().length === 1 && tables()[0]!.name === 'usage';
  if (isCurrent()) return;
  db.exec('BEGIN IMMEDIATE');
  try {
    const columns = NAMES.map((name) => `${name} INTEGER NOT NULL DEFAULT 0`);
    db.exec(
      `CREATE TABLE IF NOT EXISTS usage (account TEXT, script TEXT, day TEXT, ${columns}, PRIMARY KEY (day, account, script)) STRICT`,
    );
    if (tables().some(({ name }) => name === 'cpu')) {
      db.exec(`INSERT INTO usage (account, script, day, cpu_us) SELECT account, script, day, CAST(round(ms * 1000) AS INTEGER) FROM cpu;
        DROP TABLE cpu`);
    }
    db.exec('COMMIT');
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

function utcDay(): string {
  return new Date().toISOString().slice(0, 10);
}
