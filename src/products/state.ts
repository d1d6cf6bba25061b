/** The state of all products as the core and the data process have it: each opens the same files, and closes them in its own time. */

import { type Analytics, openAnalytics } from './analytics-engine/open.ts';
import { createQueries, type Queries } from './analytics-engine/queries.ts';
import { type Cache, openCache } from './cache/open.ts';
import type { CacheBudget } from './cache/store.ts';
import { type Kv, openKv } from './kv/open.ts';
import { type OpenQueues, openQueues } from './queues/open.ts';
import { openR2, type R2 } from './r2/open.ts';

interface Shared {
  kv: Kv;
  queues: OpenQueues;
  r2: R2;
}

/** For the control API. */
export interface CoreProducts extends Shared {
  /** SQL over the points of Analytics Engine. */
  queries: Queries;
}

/** For bindings. */
export interface DataProducts extends Shared {
  analytics: Analytics;
  cache: Cache;
}

async function openShared(dataDir: string): Promise<Shared> {
  return { kv: await openKv(dataDir), queues: await openQueues(dataDir), r2: await openR2(dataDir) };
}

/** Throws DamagedState. */
export async function openCoreProducts(dataDir: string): Promise<CoreProducts> {
  return { ...(await openShared(dataDir)), queries: createQueries(dataDir) };
}

/** Throws DamagedState. */
export async function openDataProducts(dataDir: string, cache: CacheBudget): Promise<DataProducts> {
  return {
    ...(await openShared(dataDir)),
    analytics: openAnalytics(dataDir),
    cache: await openCache(dataDir, cache),
  };
}

/** What keeps the state small, from time to time: one process of a machine does that. */
export function startSweeping({ kv, queues, r2 }: Shared): void {
  kv.startSweeping();
  queues.startExpiring();
  r2.startSweeping();
}

/** What was acknowledged is on disk. */
export async function closeProducts(products: CoreProducts | DataProducts): Promise<void> {
  if ('queries' in products) products.queries.close();
  else {
    await products.analytics.close();
    await products.cache.close();
  }
  await products.kv.close();
  await products.queues.close();
  await products.r2.close();
}
