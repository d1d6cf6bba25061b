/**
 * What buckets used per UTC day, and what they hold, in a small SQLite file that several processes add to. Added amounts are on disk after at
 * most FLUSH_MS: that is what a `kill -9` loses.
 */
import { DatabaseSync } from 'node:sqlite';
import { log, reason } from '../model/log.ts';
import { DamagedState } from './damaged.ts';
import { createPrivate } from './private-file.ts';

export const FLUSH_MS = 5_000;
const BUSY_TIMEOUT_MS = 5_000;

export interface BucketCounts {
  /** Writes and lists (Cloudflare's class A), and reads (class B). */
  classA: number;
  classB: number;
  /** Bytes of bodies to clients and from them. */
  egressBytes: number;
  ingressBytes: number;
  /** Changes of what is stored. */
  storedBytes: number;
  objects: number;
}

export interface BucketName {
  accountId: string;
  id: string;
  name: string;
}

export interface BucketDay extends BucketName, Omit<BucketCounts, 'storedBytes' | 'objects'> {
  /** YYYY-MM-DD in UTC. */
  day: string;
}

/** What a bucket holds now. */
export interface BucketHolds {
  storedBytes: number;
  objects: number;
}

export interface BucketUsage {
  count(bucket: BucketName, counts: Partial<BucketCounts>): void;
  /** Days are inclusive. */
  read(filter: { accountId: string; from?: string; to?: string }): BucketDay[];
  /** Null if nothing was ever counted of it. */
  holds(bucketId: string): BucketHolds | null;
  /** What was counted by hand; `since`: what `holds` was when the counting began, so that changes meanwhile stay. */
  correct(bucket: BucketName, counted: BucketHolds, since: BucketHolds): void;
  flush(): void;
  close(): void;
}

const FIELDS = ['classA', 'classB', 'egressBytes', 'ingressBytes'] as const;
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS days (account TEXT, bucket TEXT, name TEXT, day TEXT, class_a INTEGER NOT NULL, class_b INTEGER NOT NULL,
    egress_bytes INTEGER NOT NULL, ingress_bytes INTEGER NOT NULL, PRIMARY KEY (account, day, bucket)) STRICT;
  CREATE TABLE IF NOT EXISTS holds (bucket TEXT PRIMARY KEY, bytes INTEGER NOT NULL, objects INTEGER NOT NULL) STRICT`;

/** Opens or creates the store. Throws DamagedState. */
export function openBucketUsage(path: string): BucketUsage {
  createPrivate(path);
  let db: DatabaseSync;
  try {
    db = new DatabaseSync(path);
    db.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}; PRAGMA journal_mode = WAL; ${SCHEMA}`);
  } catch (error) {
    throw new DamagedState(path, reason(error));
  }
  const addDay =
    db.prepare(`INSERT INTO days VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET name = excluded.name,
    class_a = class_a + excluded.class_a, class_b = class_b + excluded.class_b,
    egress_bytes = egress_bytes + excluded.egress_bytes, ingress_bytes = ingress_bytes + excluded.ingress_bytes`);
  const addHolds =
    db.prepare(`INSERT INTO holds VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes,
    objects = objects + excluded.objects`);
  let waiting = new Map<string, BucketDay & BucketHolds>();

  function add({ accountId, id, name }: BucketName, counts: Partial<BucketCounts>): void {
    const day = new Date().toISOString().slice(0, 10);
    const key = `${day}/${id}`;
    let row = waiting.get(key);
    if (!row) {
      row = {
        accountId,
        id,
        name,
        day,
        classA: 0,
        classB: 0,
        egressBytes: 0,
        ingressBytes: 0,
        storedBytes: 0,
        objects: 0,
      };
      waiting.set(key, row);
    }
    row.name = name;
    for (const field of [...FIELDS, 'storedBytes', 'objects'] as const) row[field] += counts[field] ?? 0;
  }

  function flush(): void {
    if (waiting.size === 0) return;
    const rows = waiting;
    db.exec('BEGIN IMMEDIATE');
    try {
      for (const { accountId, id, name, day, storedBytes, objects, ...counts } of rows.values()) {
        addDay.run(accountId, id, name, day, ...FIELDS.map((field) => counts[field]));
        if (storedBytes !== 0 || objects !== 0) addHolds.run(id, storedBytes, objects);
      }
      db.exec('COMMIT');
      waiting = new Map();
    } catch (error) {
      // SQLite may have done so by itself: a full disk.
      if (db.isTransaction) db.exec('ROLLBACK');
      throw error;
    }
  }

  /** A full disk must not stop the machine: what waits is tried again. */
  function tryFlush(): void {
    try {
      flush();
    } catch (error) {
      log('error', 'the usage of buckets could not be written', { error: reason(error) });
    }
  }
  const timer = setInterval(tryFlush, FLUSH_MS).unref();

  return {
    count: add,
    flush,
    read({ accountId, from, to }) {
      tryFlush();
      return db
        .prepare(
          `SELECT account AS accountId, bucket AS id, name, day, class_a AS classA, class_b AS classB, egress_bytes AS egressBytes,
             ingress_bytes AS ingressBytes FROM days
           WHERE account = ?1 AND (?2 IS NULL OR day >= ?2) AND (?3 IS NULL OR day <= ?3) ORDER BY day, name`,
        )
        .all(accountId, from ?? null, to ?? null) as unknown as BucketDay[];
    },
    holds(bucketId) {
      tryFlush();
      const row = db.prepare('SELECT bytes AS storedBytes, objects FROM holds WHERE bucket = ?').get(bucketId);
      return (row as unknown as BucketHolds | undefined) ?? null;
    },
    correct(bucket, counted, since) {
      const storedBytes = counted.storedBytes - since.storedBytes;
      const objects = counted.objects - since.objects;
      if (storedBytes !== 0 || objects !== 0) add(bucket, { storedBytes, objects });
    },
    close() {
      clearInterval(timer);
      tryFlush();
      db.close();
    },
  };
}
