/**
 * Data points of one account: a SQLite file that one process writes and others read. Its write-ahead log is not synced with each commit: a
 * power cut can take the last points, never the file's soundness. All columns have values, as in Analytics Engine: '' and 0 where none came.
 */
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { reason } from '../model/log.ts';
import { DamagedState } from './damaged.ts';
import { createPrivate } from './private-file.ts';

/** `timestamp`: seconds since 1970. At most 20 blobs and doubles. */
export interface DataPoint {
  dataset: string;
  timestamp: number;
  index: string;
  blobs: string[];
  doubles: number[];
}

const WIDTH = 20;
const numbered = (name: string) => Array.from({ length: WIDTH }, (_, i) => `${name}${i + 1}`);
const BLOBS = numbered('blob');
const DOUBLES = numbered('double');
/** Columns of a data point but its dataset, and their types as a query tells them. */
export const POINT_COLUMNS: Record<string, string> = {
  timestamp: 'DateTime',
  _sample_interval: 'UInt32',
  index1: 'String',
  ...Object.fromEntries(BLOBS.map((name) => [name, 'String'])),
  ...Object.fromEntries(DOUBLES.map((name) => [name, 'Float64'])),
};
const NAMES = Object.keys(POINT_COLUMNS);
/** Points that one deletion takes: other writes come between two. */
const DELETED_AT_ONCE = 5_000;

export interface PointLimits {
  datasets: number;
  /** Of the file. */
  bytes: number;
}

export class PointStore {
  readonly #db: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #datasets = new Map<string, number>();
  readonly #maxDatasets: number;

  /** Opens or creates the file. Throws DamagedState. */
  constructor(path: string, limits: PointLimits) {
    createPrivate(path);
    this.#maxDatasets = limits.datasets;
    try {
      this.#db = new DatabaseSync(path);
      this.#db.exec('PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
      this.#db.exec(`CREATE TABLE IF NOT EXISTS datasets (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
        CREATE TABLE IF NOT EXISTS points (id INTEGER PRIMARY KEY, dataset INTEGER NOT NULL, timestamp TEXT NOT NULL,
          _sample_interval INTEGER NOT NULL DEFAULT 1, index1 TEXT NOT NULL,
          ${BLOBS.map((name) => `${name} TEXT NOT NULL`)}, ${DOUBLES.map((name) => `${name} REAL NOT NULL`)}) STRICT;
        CREATE INDEX IF NOT EXISTS points_by_time ON points (dataset, timestamp);
        CREATE INDEX IF NOT EXISTS points_by_index ON points (dataset, index1, timestamp)`);
      const { page_size: pageSize } = this.#db.prepare('PRAGMA page_size').get() as { page_size: number };
      this.#db.exec(`PRAGMA max_page_count = ${Math.floor(limits.bytes / pageSize)}`);
      for (const { id, name } of datasetsOf(this.#db)) this.#datasets.set(name, id);
    } catch (error) {
      throw new DamagedState(path, reason(error));
    }
    this.#insert = this.#db.prepare(
      `INSERT INTO points (dataset, ${NAMES}) VALUES (?, ${NAMES.map((name) => (name === '_sample_interval' ? '1' : '?'))})`,
    );
  }

  /**
   * Writes points; when the file is as large as it may be, the oldest go. Returns how many were not written because the account has the
   * most datasets. Throws if the disk is full.
   */
  write(points: readonly DataPoint[]): number {
    try {
      return this.#commit(points);
    } catch (error) {
      if (!isFull(error)) throw error;
      if (this.#deleteOldest(Math.max(4 * points.length, DELETED_AT_ONCE), null) === 0) throw error;
      return this.#commit(points);
    }
  }

  /** Deletes some of what is older than `before` (seconds since 1970); true if there may be more. */
  expire(before: number): boolean {
    return this.#deleteOldest(DELETED_AT_ONCE, textOf(before)) > 0;
  }

  close(): void {
    this.#db.close();
  }

  #commit(points: readonly DataPoint[]): number {
    let refused = 0;
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      for (const point of points) {
        const dataset = this.#dataset(point.dataset);
        if (dataset === null) refused++;
        else {
          const { blobs, doubles } = point;
          const blobValues = BLOBS.map((_, i) => blobs[i] ?? '');
          const doubleValues = DOUBLES.map((_, i) => doubles[i] ?? 0);
          this.#insert.run(dataset, textOf(point.timestamp), point.index, ...blobValues, ...doubleValues);
        }
      }
      this.#db.exec('COMMIT');
    } catch (error) {
      // After some errors SQLite has rolled back already.
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      this.#datasets.clear();
      for (const { id, name } of datasetsOf(this.#db)) this.#datasets.set(name, id);
      throw error;
    }
    return refused;
  }

  #dataset(name: string): number | null {
    const known = this.#datasets.get(name);
    if (known !== undefined) return known;
    if (this.#datasets.size >= this.#maxDatasets) return null;
    const id = Number(this.#db.prepare('INSERT INTO datasets (name) VALUES (?)').run(name).lastInsertRowid);
    this.#datasets.set(name, id);
    return id;
  }

  /** Points are numbered in the order of their times. */
  #deleteOldest(count: number, before: string | null): number {
    const { changes } = this.#db
      .prepare(`DELETE FROM points WHERE id < (SELECT min(id) FROM points) + ?1 AND (?2 IS NULL OR timestamp < ?2)`)
      .run(count, before);
    return Number(changes);
  }
}

/** The same file for a reader, that cannot write; null if the account has none. `limits`: of SQLite. */
export function openPointsReader(
  path: string,
  limits: NonNullable<ConstructorParameters<typeof DatabaseSync>[1]>['limits'],
): DatabaseSync {
  return new DatabaseSync(path, { readOnly: true, defensive: true, limits });
}

/** In the order of their names. */
export function datasetsOf(db: DatabaseSync): { id: number; name: string }[] {
  return db.prepare('SELECT id, name FROM datasets ORDER BY name').all() as { id: number; name: string }[];
}

/** "2026-11-20 16:17:00", in UTC, as Analytics Engine shows a DateTime. Sorts by time. */
function textOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ');
}

function isFull(error: unknown): boolean {
  return (error as { errcode?: number }).errcode === 13;
}
