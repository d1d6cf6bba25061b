import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { startEdge } from '../../test/harness.ts';
import { fill, kvNamespace, READS_COLD_KEYS } from '../kv.ts';
import { percentile, put, type Row } from '../lib.ts';

/** Each is read once. */
const KEYS = 100_000;
const READS = 4_000;
const PER_REQUEST = 50;

export const row: Row = {
  what: `KV get of a cold key of ${KEYS}, in the Worker, p50`,
  against: 'SQLite point read in process',
  goal: '<= 1 ms',
  async run() {
    const edge = await startEdge({ args: ['--max-instances', '1', '--edges', '1'] });
    try {
      const binding = await kvNamespace(edge);
      await fill(edge, binding.namespace_id, KEYS);
      await put(edge, 'cold', READS_COLD_KEYS, { bindings: [binding] });
      const times: number[] = [];
      for (let from = 0; from < READS; from += PER_REQUEST) {
        const path = `/?from=${(from * 7919) % (KEYS - PER_REQUEST)}&count=${PER_REQUEST}`;
        times.push((await edge.request(edge.host('cold'), path)).json());
      }
      const [p50, p99] = [percentile(times, 0.5), percentile(times, 0.99)];
      return {
        measured: `${p50.toFixed(2)} ms`,
        detail: `p99 ${p99.toFixed(2)} ms; a point read ${(await pointRead()).toFixed(3)} ms`,
        met: p50 <= 1,
      };
    } finally {
      await edge.close();
    }
  },
};

/** Median ms of a read by key. */
async function pointRead(): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-bench-'));
  const db = new DatabaseSync(join(directory, 'd.sqlite'));
  try {
    db.exec('CREATE TABLE t (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID; BEGIN');
    const insert = db.prepare('INSERT INTO t VALUES (?, ?)');
    for (let i = 0; i < KEYS; i++) insert.run(`key/${i}`, `value of ${i}`);
    db.exec('COMMIT');
    const get = db.prepare('SELECT value FROM t WHERE key = ?');
    const times: number[] = [];
    for (let i = 0; i < READS; i++) {
      const began = performance.now();
      get.get(`key/${(i * 7919) % KEYS}`);
      times.push(performance.now() - began);
    }
    return percentile(times, 0.5);
  } finally {
    db.close();
    rmSync(directory, { recursive: true });
  }
}
