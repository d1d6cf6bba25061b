/** KV's state as each process that serves it opens it: entries, namespaces, and what keeps them small. */
import { mkdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { layout } from '../../model/layout.ts';
import { log, reason } from '../../model/log.ts';
import { openFileBlobs } from '../../state/file-blobs.ts';
import type { Ledger } from '../../state/ledger.ts';
import { openThreadedLedger } from '../../state/threaded-ledger.ts';
import { Namespaces } from './namespaces.ts';
import { KvStore } from './store.ts';

const SWEEP_MS = 3_600_000;
/** Between two pages of a sweep: requests go first. */
const SWEEP_PAUSE_MS = 50;

export interface Kv {
  ledger: Ledger;
  store: KvStore;
  namespaces: Namespaces;
  /** Removes expired entries each hour, and forgets deletions of the hour before. One process of a machine does that. */
  startSweeping(): void;
  close(): Promise<void>;
}

/** Opens or creates KV's state in the data directory. Throws DamagedState. */
export async function openKv(dataDir: string): Promise<Kv> {
  const paths = layout(dataDir);
  await mkdir(paths.kvBlobs, { recursive: true, mode: 0o700 });
  const ledger = await openThreadedLedger(paths.kv);
  const blobs = await openFileBlobs(paths.kvBlobs);
  const store = new KvStore(ledger, blobs);
  const stopped = new AbortController();
  let sweeping = Promise.resolve();

  async function sweep(upTo: number): Promise<void> {
    try {
      await ledger.compact(upTo);
      await store.sweep(() => sleep(SWEEP_PAUSE_MS, undefined, { signal: stopped.signal }));
    } catch (error) {
      if (!stopped.signal.aborted) log('warn', 'the sweep of KV failed', { error: reason(error) });
    }
  }

  let timer: NodeJS.Timeout | undefined;
  return {
    ledger,
    store,
    namespaces: new Namespaces(ledger),
    startSweeping() {
      let lastSequence = 0;
      timer = setInterval(() => {
        sweeping = sweeping.then(async () => {
          const sequence = await ledger.sequence();
          await sweep(lastSequence);
          lastSequence = sequence;
        });
      }, SWEEP_MS).unref();
    },
    async close() {
      clearInterval(timer);
      stopped.abort();
      await sweeping;
      await ledger.close();
      await blobs.close();
    },
  };
}
