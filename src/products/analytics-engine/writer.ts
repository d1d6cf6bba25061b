/** The thread that writes data points: one file for each account, a commit for each a few times a second, and what is too old goes each hour. */
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { log, reason } from '../../model/log.ts';
import { type DataPoint, PointStore } from '../../state/points.ts';
import { ANALYTICS } from './limits.ts';
import type { FromWriter, ToWriter } from './open.ts';

const COMMIT_MS = 250;
const SWEEP_MS = 3_600_000;
/** Between two deletions of a sweep: points that come meanwhile go first. */
const SWEEP_PAUSE_MS = 50;
/** A file that nobody wrote to for this long is closed. */
const IDLE_MS = 60_000;
const DAY_S = 86_400;

const { directory } = workerData as { directory: string };
const port = parentPort!;
const limits = { datasets: ANALYTICS.datasetsPerAccount, bytes: ANALYTICS.bytesPerAccount };
const waiting = new Map<string, DataPoint[]>();
const open = new Map<string, { store: PointStore; usedAt: number }>();
mkdirSync(directory, { recursive: true, mode: 0o700 });

port.on('message', (message: ToWriter) => {
  if (message === null) {
    commit();
    for (const { store } of open.values()) store.close();
    process.exit();
  }
  const { accountId, points } = message;
  const before = waiting.get(accountId);
  if (before) before.push(...points);
  else waiting.set(accountId, points);
});
setInterval(commit, COMMIT_MS);
const sweeping = () =>
  sweep().catch((error: unknown) => log('error', 'old data points were not removed', { error: reason(error) }));
setInterval(sweeping, SWEEP_MS);
void sweeping();

function commit(): void {
  const done: FromWriter = {};
  for (const [accountId, points] of waiting) {
    done[accountId] = points.length;
    try {
      const refused = storeOf(accountId).write(points);
      if (refused > 0) {
        log('warn', 'data points are dropped: the account has the most datasets that it may have', {
          accountId,
          refused,
        });
      }
    } catch (error) {
      log('error', 'data points were not written', { accountId, points: points.length, error: reason(error) });
    }
  }
  waiting.clear();
  if (Object.keys(done).length > 0) port.postMessage(done);
  const now = Date.now();
  for (const [accountId, { store, usedAt }] of open) {
    if (now - usedAt < IDLE_MS) continue;
    open.delete(accountId);
    store.close();
  }
}

async function sweep(): Promise<void> {
  const before = Date.now() / 1000 - ANALYTICS.retentionDays * DAY_S;
  for (const file of readdirSync(directory)) {
    const accountId = /^([0-9a-f]{32})\.sqlite$/.exec(file)?.[1];
    if (!accountId) continue;
    try {
      while (storeOf(accountId).expire(before)) await sleep(SWEEP_PAUSE_MS);
    } catch (error) {
      log('error', 'old data points were not removed', { accountId, error: reason(error) });
    }
  }
}

function storeOf(accountId: string): PointStore {
  const known = open.get(accountId);
  const store = known?.store ?? new PointStore(join(directory, `${accountId}.sqlite`), limits);
  open.set(accountId, { store, usedAt: Date.now() });
  return store;
}
