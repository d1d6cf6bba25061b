/** What R2 does by itself, each hour: objects and uploads whose time is over by a rule, bytes that nobody names any more, and the true sums. */
import { log } from '../../model/log.ts';
import type { BucketUsage } from '../../state/bucket-usage.ts';
import type { Ledger } from '../../state/ledger.ts';
import type { Bodies } from './bodies.ts';
import type { Buckets } from './buckets.ts';
import {
  type Bucket,
  type Garbage,
  keys,
  type LifecycleRule,
  type Piece,
  type StoredObject,
  type Upload,
} from './documents.ts';
import { R2 } from './limits.ts';
import { listObjects, type Position } from './listing.ts';
import type { Objects } from './objects.ts';
import type { Strays } from './strays.ts';
import type { Uploads } from './uploads.ts';

/** A body that was replaced is kept this long for those who read it. */
export const GARBAGE_MS = 15 * 60_000;
const DAY_MS = 86_400_000;
const PAGE = 500;

export interface SweepParts {
  ledger: Ledger;
  buckets: Buckets;
  objects: Objects;
  uploads: Uploads;
  bodies: Bodies;
  usage: BucketUsage;
  strays: Strays;
  /** Awaited between two pages: requests go first. */
  pause(): Promise<unknown>;
}

/** `now` in ms since 1970. `folders`: of bodies, where those that nobody names are looked for. */
export async function sweep(parts: SweepParts, now: number, folders?: string[]): Promise<void> {
  const { strays } = parts;
  await removeGarbage(parts, now);
  await strays.begin(now, folders);
  for (const bucket of await parts.buckets.list()) await sweepBucket(parts, bucket, now);
  const removed = await strays.finish();
  if (removed > 0) log('info', 'bodies of R2 that nothing named were removed', { removed });
  await removeUploads(parts, now);
}

/** Removes bodies that were replaced or deleted some time ago. */
async function removeGarbage({ ledger, bodies, pause }: SweepParts, now: number): Promise<void> {
  for (;;) {
    const page = await ledger.list<Garbage>(keys.garbages, { limit: PAGE });
    const due = page.filter(({ key }) => Number(key.split('/')[1]) <= now - GARBAGE_MS);
    for (const { key, value } of due) {
      const pieces =
        typeof value.body === 'number'
          ? ((await ledger.get<{ pieces: Piece[] }>(keys.pieces(value.version)))?.value.pieces ?? [])
          : [value.body];
      for (const piece of pieces) await bodies.delete(piece);
      await ledger.write([
        { key, value: null },
        ...(typeof value.body === 'number' ? [{ key: keys.pieces(value.version), value: null }] : []),
      ]);
    }
    if (due.length < PAGE) return;
    await pause();
  }
}

/** Applies the rules to a bucket's objects, and adds up what it holds. */
async function sweepBucket(parts: SweepParts, bucket: Bucket, now: number): Promise<void> {
  const { ledger, objects, usage, strays, pause } = parts;
  const since = usage.holds(bucket.id) ?? { storedBytes: 0, objects: 0 };
  const counted = { storedBytes: 0, objects: 0 };
  for (let after: Position | undefined; ; ) {
    const page = await listObjects(ledger, bucket, { limit: PAGE, ...(after && { after }) });
    for (const { key, object } of page.objects) {
      counted.storedBytes += object.size;
      counted.objects++;
      await strays.named(object);
      const rule = (is: (rule: LifecycleRule) => boolean) =>
        bucket.lifecycle.some((each) => each.enabled && key.startsWith(each.conditions.prefix) && is(each));
      if (rule((each) => isDue(each.deleteObjectsTransition, object.uploaded, now))) {
        await objects.removeVersion(bucket, key, object);
      } else if (
        object.storageClass === 'Standard' &&
        rule(({ storageClassTransitions = [] }) =>
          storageClassTransitions.some((transition) => isDue(transition, object.uploaded, now)),
        )
      ) {
        await toInfrequentAccess(ledger, bucket, key, object);
      }
    }
    if (!page.next) break;
    after = page.next;
    await pause();
  }
  usage.correct(bucket, counted, since);
}

/** A class of storage is only a name here: there is one kind of disk. */
async function toInfrequentAccess(ledger: Ledger, bucket: Bucket, key: string, object: StoredObject): Promise<void> {
  const entry = await ledger.get<StoredObject>(keys.object(bucket.id, key));
  if (entry?.value.version !== object.version) return;
  // Whoever wrote it meanwhile goes first.
  await ledger
    .put(entry.key, { ...entry.value, storageClass: 'InfrequentAccess' }, entry.revision)
    .catch(() => undefined);
}

/** Gives up uploads that nobody completes, and those of buckets that are no more; and parts whose upload ended while they were removed. */
async function removeUploads({ ledger, buckets, uploads, pause }: SweepParts, now: number): Promise<void> {
  // First the parts: an upload that is not found afterwards has ended.
  const withParts = await uploads.idsWithParts(pause);
  for (let after: string | undefined; ; ) {
    const page = await ledger.list<Upload>('upload/', { limit: PAGE, ...(after && { after }) });
    // After the uploads: a bucket that was made while the sweep ran is known then.
    const known = new Map(page.length > 0 ? (await buckets.list()).map((bucket) => [bucket.id, bucket]) : []);
    for (const { key, value } of page) {
      withParts.delete(value.id);
      const bucket = known.get(key.split('/')[1]!);
      if (bucket && now - value.initiated < maxAgeMs(bucket, value.key)) continue;
      await ledger.delete(key);
      await uploads.removeParts(value.id);
    }
    if (page.length === 0) break;
    after = page.at(-1)!.key;
    await pause();
  }
  for (const id of withParts) await uploads.removeParts(id);
}

/** Of uploads in parts: a rule's, or the 7 days that each bucket begins with. */
function maxAgeMs({ lifecycle }: Bucket, key: string): number {
  const ages = lifecycle.flatMap(({ enabled, conditions, abortMultipartUploadsTransition: abort }) =>
    enabled && abort && key.startsWith(conditions.prefix) ? [abort.condition.maxAge * 1000] : [],
  );
  return Math.min(R2.uploadDays * DAY_MS, ...ages);
}

function isDue(transition: LifecycleRule['deleteObjectsTransition'], uploaded: number, now: number): boolean {
  if (!transition) return false;
  const { condition } = transition;
  return condition.type === 'Age' ? now - uploaded >= condition.maxAge * 1000 : now >= Date.parse(condition.date);
}
