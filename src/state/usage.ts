/** CPU time per Worker and UTC day, kept in a small SQLite file. Written every few seconds, so `kill -9` loses at most those. */
import { DatabaseSync } from 'node:sqlite';
import { log, reason } from '../model/log.ts';
import { DamagedState } from './damaged.ts';
import { createPrivate } from './private-file.ts';

const FLUSH_MS = 5_000;

export interface UsageRow {
  accountId: string;
  script: string;
  /** YYYY-MM-DD in UTC. */
  day: string;
  cpuMs: number;
}

export interface Usage {
  add(accountId: string, script: string, cpuMs: number): void;
  flush(): void;
  /** Rows by day, account and script; `from` and `to` are days, both included. */
  read(filter?: { accountId?: string; script?: string; from?: string; to?: string }): UsageRow[];
  close(): void;
}

/** Opens or creates the store. Throws DamagedState. */
export function openUsage(path: string): Usage {
  createPrivate(path);
  let db: DatabaseSync;
  try {
    db = new DatabaseSync(path);
    db.exec(`PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL;
      CREATE TABLE IF NOT EXISTS cpu (account TEXT, script TEXT, day TEXT, ms REAL NOT NULL, PRIMARY KEY (day, account, script)) STRICT`);
  } catch (error) {
    throw new DamagedState(path, reason(error));
  }
  const upsert = db.prepare(
    'INSERT INTO cpu (account, script, day, ms) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET ms = ms + excluded.ms',
  );
  const buffer = new Map<string, { accountId: string; script: string; day: string; ms: number }>();

  function flush(): void {
    if (buffer.size === 0) return;
    db.exec('BEGIN IMMEDIATE');
    try {
      for (const { accountId, script, day, ms } of buffer.values()) upsert.run(accountId, script, day, ms);
      db.exec('COMMIT');
    } catch (error) {
      db.exec('ROLLBACK');
      throw error;
    }
    buffer.clear();
  }
  const timer = setInterval(() => {
    try {
      flush();
    } catch (error) {
      // A full disk must not stop the machine: what is buffered is tried again.
      log('error', 'CPU time could not be written', { error: reason(error) });
    }
  }, FLUSH_MS).unref();

  return {
    add(accountId, script, cpuMs) {
      if (!(cpuMs > 0) || !Number.isFinite(cpuMs)) return;
      const day = new Date().toISOString().slice(0, 10);
      const key = `${day}/${accountId}/${script}`;
      const row = buffer.get(key);
      if (row) row.ms += cpuMs;
      else buffer.set(key, { accountId, script, day, ms: cpuMs });
    },
    flush,
    read({ accountId, script, from, to } = {}) {
      flush();
      const rows = db
        .prepare(
          `SELECT account AS accountId, script, day, ms AS cpuMs FROM cpu
           WHERE (?1 IS NULL OR account = ?1) AND (?2 IS NULL OR script = ?2) AND (?3 IS NULL OR day >= ?3) AND (?4 IS NULL OR day <= ?4)
           ORDER BY day, account, script`,
        )
        .all(accountId ?? null, script ?? null, from ?? null, to ?? null);
      return rows.map((row) => ({ ...row })) as unknown as UsageRow[];
    },
    close() {
      clearInterval(timer);
      flush();
      db.close();
    },
  };
}
