/**
 * What accounts used of products, by the products' own names (rows read, operations ...), per resource and UTC hour, in a small SQLite file.
 * As in `usage.ts`, added amounts are on disk after at most FLUSH_MS: that is what a `kill -9` or a power cut loses.
 */
import { DatabaseSync } from 'node:sqlite';
import { log, reason } from '../model/log.ts';
import type { ProductUse } from '../model/messages.ts';
import { DamagedState } from './damaged.ts';
import { createPrivate } from './private-file.ts';
import { FLUSH_MS } from './usage.ts';

export interface ProductUsage {
  /** Adds amounts to the current hour; those that are no positive number count nothing. */
  add(use: ProductUse): void;
  flush(): void;
  /** By hour and resource; `from` and `to` are hours ("2026-11-21T07"), both included. */
  read(filter: {
    product: string;
    accountId: string;
    resource?: string;
    from: string;
    to: string;
  }): { resource: string; hour: string; amounts: Record<string, number> }[];
  close(): void;
}

/** Opens or creates the store. Throws DamagedState. `now`: for tests. */
export function openProductUsage(path: string, now: () => Date = () => new Date()): ProductUsage {
  createPrivate(path);
  let db: DatabaseSync;
  try {
    db = new DatabaseSync(path);
    db.exec(`PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL;
      CREATE TABLE IF NOT EXISTS used (product TEXT, account TEXT, resource TEXT, hour TEXT, name TEXT, amount INTEGER NOT NULL,
        PRIMARY KEY (product, account, resource, hour, name)) STRICT, WITHOUT ROWID`);
  } catch (error) {
    throw new DamagedState(path, reason(error));
  }
  const upsert = db.prepare(
    'INSERT INTO used VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount',
  );
  /** Key of the row, as JSON -> amount. */
  let buffer = new Map<string, number>();

  function flush(): void {
    if (buffer.size === 0) return;
    db.exec('BEGIN IMMEDIATE');
    try {
      for (const [key, amount] of buffer) upsert.run(...(JSON.parse(key) as string[]), amount);
      db.exec('COMMIT');
    } catch (error) {
      db.exec('ROLLBACK');
      throw error;
    }
    buffer = new Map();
  }
  const timer = setInterval(() => {
    try {
      flush();
    } catch (error) {
      // A full disk must not stop the machine: what is buffered is tried again.
      log('error', 'usage of products could not be written', { error: reason(error) });
    }
  }, FLUSH_MS).unref();

  return {
    add({ product, accountId, resource, amounts }) {
      const hour = now().toISOString().slice(0, 13);
      for (const [name, amount] of Object.entries(amounts)) {
        if (!(amount > 0) || !Number.isFinite(amount)) continue;
        const key = JSON.stringify([product, accountId, resource, hour, name]);
        buffer.set(key, (buffer.get(key) ?? 0) + Math.floor(amount));
      }
    },
    flush,
    read({ product, accountId, resource, from, to }) {
      flush();
      const rows = db
        .prepare(
          `SELECT resource, hour, name, amount FROM used
           WHERE product = ?1 AND account = ?2 AND (?3 IS NULL OR resource = ?3) AND hour >= ?4 AND hour <= ?5 ORDER BY hour, resource`,
        )
        .all(product, accountId, resource ?? null, from, to) as {
        resource: string;
        hour: string;
        name: string;
        amount: number;
      }[];
      const found = new Map<string, { resource: string; hour: string; amounts: Record<string, number> }>();
      for (const { resource, hour, name, amount } of rows) {
        const key = `${hour} ${resource}`;
        const row = found.get(key) ?? { resource, hour, amounts: {} };
        row.amounts[name] = amount;
        found.set(key, row);
      }
      return [...found.values()];
    },
    close() {
      clearInterval(timer);
      flush();
      db.close();
    },
  };
}
