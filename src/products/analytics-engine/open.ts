/** The writing side of Analytics Engine: points are handed to a thread of their own that commits them a few times a second. */
import { Worker } from 'node:worker_threads';
import { layout } from '../../model/layout.ts';
import { log } from '../../model/log.ts';
import type { DataPoint } from '../../state/points.ts';
import { ANALYTICS } from './limits.ts';

const COMPLAIN_MS = 10_000;

/** To the thread: points of an account, or null: write what there is, and end. From it: points that it has done with, by account. */
export type ToWriter = { accountId: string; points: DataPoint[] } | null;
export type FromWriter = Record<string, number>;

export interface Analytics {
  /** Takes points; they are on disk within the second. False: too many wait, these are dropped. */
  add(accountId: string, points: DataPoint[]): boolean;
  /** Writes what waits. */
  close(): Promise<void>;
}

/** One process of a machine does this: it is the only writer of the files. */
export function openAnalytics(dataDir: string): Analytics {
  const directory = layout(dataDir).analytics;
  const writer = new Worker(new URL('./writer.ts', import.meta.url), { workerData: { directory } });
  const waiting = new Map<string, number>();
  let total = 0;
  let ended = false;
  let complainedAt = 0;
  const exited = new Promise<void>((resolve) => writer.once('exit', () => resolve()));
  void exited.then(() => {
    ended = true;
  });
  writer.on('error', (error) => {
    // A process without its writer is replaced.
    throw error;
  });
  writer.on('message', (done: FromWriter) => {
    for (const [accountId, count] of Object.entries(done)) {
      total -= count;
      const left = (waiting.get(accountId) ?? 0) - count;
      if (left > 0) waiting.set(accountId, left);
      else waiting.delete(accountId);
    }
  });

  return {
    add(accountId, points) {
      const own = (waiting.get(accountId) ?? 0) + points.length;
      if (ended || own > ANALYTICS.waitingPerAccount || total + points.length > ANALYTICS.waiting) {
        const now = Date.now();
        if (now - complainedAt > COMPLAIN_MS) {
          complainedAt = now;
          log('warn', 'data points are dropped: they come faster than the disk takes them', { accountId });
        }
        return false;
      }
      waiting.set(accountId, own);
      total += points.length;
      writer.postMessage({ accountId, points } satisfies ToWriter);
      return true;
    },
    async close() {
      if (!ended) writer.postMessage(null satisfies ToWriter);
      await exited;
    },
  };
}
