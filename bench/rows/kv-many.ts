import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openKv } from '../../src/products/kv/open.ts';
import { percentile, type Row } from '../lib.ts';

const MANY = 1_000_000;
const FEW = 1_000;
const BATCH = 5_000;
const ROUNDS = 400;

export const row: Row = {
  what: `KV get and list of 100 keys in a namespace of ${MANY} keys, in the data process, p50, the worse of the two`,
  against: `in one of ${FEW} keys`,
  goal: '<= 2x',
  async run() {
    const directory = mkdtempSync(join(tmpdir(), 'selvedge-bench-'));
    const kv = await openKv(directory);
    try {
      for (const [namespace, count] of [
        ['many', MANY],
        ['few', FEW],
      ] as const) {
        for (let from = 0; from < count; from += BATCH) {
          const puts = Array.from({ length: Math.min(BATCH, count - from) }, (_, i) => ({
            key: nameOf(from + i),
            value: Buffer.from(`value of ${from + i}`),
          }));
          await kv.store.put(namespace, puts);
        }
      }
      const times: Record<string, number[]> = { 'get many': [], 'get few': [], 'list many': [], 'list few': [] };
      for (let i = 0; i < ROUNDS; i++) {
        for (const [namespace, count] of [
          ['many', MANY],
          ['few', FEW],
        ] as const) {
          const key = nameOf((i * 104_729) % count);
          times[`get ${namespace}`]!.push(await timed(() => kv.store.get(namespace, key)));
          times[`list ${namespace}`]!.push(await timed(() => kv.store.list(namespace, { limit: 100, after: key })));
        }
      }
      const p50 = (what: string) => percentile(times[what]!, 0.5);
      const [get, list] = [p50('get many') / p50('get few'), p50('list many') / p50('list few')];
      const worse = Math.max(get, list);
      return {
        measured: `${worse.toFixed(2)}x`,
        detail: `get ${get.toFixed(2)}x: ${us(p50('get many'))} and ${us(p50('get few'))}; list ${list.toFixed(2)}x: ${us(p50('list many'))} and ${us(p50('list few'))}`,
        met: worse <= 2,
      };
    } finally {
      await kv.close();
      rmSync(directory, { recursive: true });
    }
  },
};

const nameOf = (n: number) => `key/${String(n).padStart(8, '0')}`;
const us = (ms: number) => `${(ms * 1000).toFixed(0)} us`;

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}
