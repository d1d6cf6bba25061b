/** R2's state as each process that serves it opens it: buckets, objects, uploads, and what keeps them small. */
import { mkdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { layout } from '../../model/layout.ts';
import { log, reason } from '../../model/log.ts';
import { type BucketUsage, openBucketUsage } from '../../state/bucket-usage.ts';
import { type FileBlobs, openFileBlobs } from '../../state/file-blobs.ts';
import type { Ledger } from '../../state/ledger.ts';
import { openThreadedLedger } from '../../state/threaded-ledger.ts';
import { Bodies } from './bodies.ts';
import { Buckets } from './buckets.ts';
import { Objects } from './objects.ts';
import { Strays } from './strays.ts';
import { sweep } from './sweep.ts';
import { Uploads } from './uploads.ts';

const SWEEP_MS = 3_600_000;
/** Between two pages of a sweep: requests go first. */
const SWEEP_PAUSE_MS = 50;

export interface R2 {
  ledger: Ledger;
  blobs: FileBlobs;
  bodies: Bodies;
  strays: Strays;
  buckets: Buckets;
  objects: Objects;
  uploads: Uploads;
  usage: BucketUsage;
  /** Sweeps each hour. One process of a machine does that. */
  startSweeping(): void;
  /** Sweeps now. `folders`: those of bodies to look at, without them the hour says which. */
  sweep(now?: number, folders?: string[]): Promise<void>;
  close(): Promise<void>;
}

/** Opens or creates R2's state in the data directory. Throws DamagedState. */
export async function openR2(dataDir: string): Promise<R2> {
  const paths = layout(dataDir);
  await mkdir(paths.r2Blobs, { recursive: true, mode: 0o700 });
  const ledger = await openThreadedLedger(paths.r2);
  const blobs = await openFileBlobs(paths.r2Blobs);
  const usage = openBucketUsage(paths.r2Usage);
  const bodies = new Bodies(blobs);
  const buckets = new Buckets(ledger);
  const objects = new Objects(ledger, bodies, usage);
  const uploads = new Uploads(ledger, bodies, objects);
  const stopped = new AbortController();
  const pause = () => sleep(SWEEP_PAUSE_MS, undefined, { signal: stopped.signal });
  const strays = new Strays(ledger, blobs, pause);
  const parts = { ledger, buckets, objects, uploads, bodies, usage, strays, pause };
  const sweepNow = (now = Date.now(), folders?: string[]) => sweep(parts, now, folders);
  let sweeping = Promise.resolve();
  let timer: NodeJS.Timeout | undefined;
  return {
    ledger,
    blobs,
    bodies,
    strays,
    buckets,
    objects,
    uploads,
    usage,
    sweep: sweepNow,
    startSweeping() {
      let lastSequence = 0;
      timer = setInterval(() => {
        sweeping = sweeping.then(async () => {
          try {
            const sequence = await ledger.sequence();
            await ledger.compact(lastSequence);
            lastSequence = sequence;
            await sweepNow();
          } catch (error) {
            if (!stopped.signal.aborted) log('warn', 'the sweep of R2 failed', { error: reason(error) });
          }
        });
      }, SWEEP_MS).unref();
    },
    async close() {
      clearInterval(timer);
      stopped.abort();
      await sweeping;
      usage.close();
      await bodies.close();
      await ledger.close();
      await blobs.close();
    },
  };
}
