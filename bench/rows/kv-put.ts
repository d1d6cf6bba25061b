import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { startEdge } from '../../test/harness.ts';
import { kvNamespace, WRITES_KEYS } from '../kv.ts';
import { interleaved, put, type Row } from '../lib.ts';

const WRITERS = 16;
const PUTS = 300;

export const row: Row = {
  what: `KV put, acknowledged, ${WRITERS} writers, puts/s`,
  against: `SQLite insert with synchronous=FULL, ${WRITERS} to a transaction, in process`,
  goal: '>= 0.5x',
  async run() {
    const edge = await startEdge({ args: ['--max-instances', '1', '--edges', '1'] });
    const directory = mkdtempSync(join(tmpdir(), 'selvedge-bench-'));
    const db = new DatabaseSync(join(directory, 'd.sqlite'));
    try {
      db.exec(
        'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID',
      );
      const insert = db.prepare('INSERT INTO t VALUES (?, ?)');
      await put(edge, 'writer', WRITES_KEYS, { bindings: [await kvNamespace(edge)] });
      const host = edge.host('writer');
      const rate = async (work: () => unknown) => {
        const began = performance.now();
        await work();
        return (WRITERS * PUTS * 1000) / (performance.now() - began);
      };
      const byKv = () =>
        rate(async () => {
          const answers = Array.from({ length: WRITERS }, () => edge.request(host, `/?count=${PUTS}`));
          for (const { status, text } of await Promise.all(answers))
            if (status !== 200) throw new Error(text.slice(0, 500));
        });
      const bySqlite = () =>
        rate(() => {
          for (let i = 0; i < PUTS; i++) {
            db.exec('BEGIN');
            for (let writer = 0; writer < WRITERS; writer++) insert.run(crypto.randomUUID(), 'x'.repeat(100));
            db.exec('COMMIT');
          }
        });
      await byKv();
      const { a, b, ratio } = await interleaved(5, byKv, bySqlite);
      return {
        measured: `${ratio.toFixed(2)}x`,
        detail: `${a.toFixed(0)} and ${b.toFixed(0)} puts/s`,
        met: ratio >= 0.5,
      };
    } finally {
      db.close();
      rmSync(directory, { recursive: true });
      await edge.close();
    }
  },
};
