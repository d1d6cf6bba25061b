/** The cache's state as the data process opens it. It is only a cache: what is damaged is thrown away. */
import { mkdir, rm } from 'node:fs/promises';
import { layout } from '../../model/layout.ts';
import { log } from '../../model/log.ts';
import { DamagedState } from '../../state/damaged.ts';
import { openFileBlobs } from '../../state/file-blobs.ts';
import { openThreadedLedger } from '../../state/threaded-ledger.ts';
import { type CacheBudget, CacheStore } from './store.ts';

export interface Cache {
  store: CacheStore;
  close(): Promise<void>;
}

export async function openCache(dataDir: string, budget: CacheBudget): Promise<Cache> {
  const { cache, cacheBlobs } = layout(dataDir);
  try {
    await mkdir(cacheBlobs, { recursive: true, mode: 0o700 });
    const ledger = await openThreadedLedger(cache);
    const blobs = await openFileBlobs(cacheBlobs);
    const store = await CacheStore.open(ledger, blobs, budget);
    return {
      store,
      async close() {
        await store.settled();
        await ledger.close();
        await blobs.close();
      },
    };
  } catch (error) {
    if (!(error instanceof DamagedState)) throw error;
    log('warn', 'the cache was damaged and begins anew', { error: error.message });
    for (const path of [cache, `${cache}-wal`, `${cache}-shm`, cacheBlobs])
      await rm(path, { recursive: true, force: true });
    return openCache(dataDir, budget);
  }
}
