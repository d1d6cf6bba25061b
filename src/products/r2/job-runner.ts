/**
 * Copies buckets of S3: page by page of the source's list. What is done is written with the token of the next page, so that whoever goes on
 * begins there; what is already here as the source has it is not copied again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { log, reason } from '../../model/log.ts';
import { type Bucket, type Job, type JobCounts, keys } from './documents.ts';
import { addCounts, isEnded, Jobs, type NewLog, noCounts } from './jobs.ts';
import { R2Error, type R2ErrorName } from './limits.ts';
import type { R2 } from './open.ts';
import { r2ErrorOf } from './service.ts';
import type { Slurp } from './slurp.ts';
import { SourceError, type SourceKey } from './source.ts';

/** Jobs that run at once on this machine; the others wait. */
const MAX_JOBS = 8;
/** Objects of one job that are copied at once. */
const COPIES = 8;
/** Before the second, third and fourth try. */
const RETRY_MS = [500, 2_000, 8_000];
/** How far a page is, is written this often. */
const SAVE_MS = 1_000;
/** Errors of an object, and not of this machine: the next object may do. */
const OF_THE_OBJECT: readonly R2ErrorName[] = ['InvalidObjectName', 'EntityTooLarge', 'MetadataTooLarge'];

interface Running {
  ended: Promise<void>;
  stop: AbortController;
}

export class JobRunner {
  readonly #r2: Pick<R2, 'ledger' | 'buckets' | 'objects'>;
  readonly #slurp: Slurp;
  readonly #jobs: Jobs;
  readonly #running = new Map<string, Running>();
  readonly #waiting = new Map<string, Job>();
  #unwatch: () => void = () => undefined;
  #closed = false;

  constructor(r2: Pick<R2, 'ledger' | 'buckets' | 'objects'>, slurp: Slurp) {
    this.#r2 = r2;
    this.#slurp = slurp;
    this.#jobs = new Jobs(r2.ledger);
  }

  /** Goes on with what was running, and follows what is asked for. */
  async start(): Promise<void> {
    const sequence = await this.#r2.ledger.sequence();
    for (const job of (await this.#jobs.list()).reverse()) this.#consider(job);
    const prefix = keys.jobs();
    this.#unwatch = this.#r2.ledger.watch(sequence, (changes) => {
      for (const { key, value } of changes) if (value && key.startsWith(prefix)) this.#consider(value as Job);
    });
  }

  /** Begins no more objects, and waits for those that are being copied: `Slurp.close` breaks them off. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#unwatch();
    this.#waiting.clear();
    for (const { stop } of this.#running.values()) stop.abort();
    await Promise.all([...this.#running.values()].map(({ ended }) => ended));
  }

  #consider(job: Job): void {
    if (job.status !== 'running') {
      this.#waiting.delete(job.id);
      this.#running.get(job.id)?.stop.abort();
      return;
    }
    const running = this.#running.get(job.id);
    // One that was paused a moment ago ends what it has begun before it is resumed.
    if (!running || running.stop.signal.aborted) this.#waiting.set(job.id, job);
    this.#next();
  }

  #next(): void {
    for (const job of this.#waiting.values()) {
      if (this.#closed || this.#running.size >= MAX_JOBS) return;
      if (this.#running.has(job.id)) continue;
      this.#waiting.delete(job.id);
      const stop = new AbortController();
      const ended = this.#run(job, stop.signal).finally(() => {
        this.#running.delete(job.id);
        this.#next();
      });
      this.#running.set(job.id, { ended, stop });
    }
  }

  async #run({ accountId, id }: Job, stop: AbortSignal): Promise<void> {
    try {
      while (!stop.aborted) {
        const job = await this.#jobs.find(accountId, id);
        if (job?.status !== 'running') return;
        const bucket = await this.#r2.buckets.find(accountId, job.bucket.name);
        if (bucket?.id !== job.bucket.id) {
          const error = `the bucket ${job.bucket.name} was deleted`;
          await this.#end(job, { status: 'aborted', error }, { logType: 'migrationError', message: error });
          return;
        }
        await new Page(this.#r2, this.#slurp, this.#jobs, job, bucket, stop).copy();
      }
    } catch (error) {
      // A process that stops says nothing about the job: the next one goes on.
      if (this.#closed || stop.aborted) return;
      const why = error instanceof SourceError ? error.message : r2ErrorOf(error).message;
      await this.#end(
        { accountId, id },
        { status: 'paused', error: why },
        {
          logType: 'migrationErrorFailedContinuation',
          message: why,
        },
      ).catch((failure: unknown) => log('error', 'a job of R2 could not be paused', { error: reason(failure) }));
    }
  }

  #end({ accountId, id }: Pick<Job, 'accountId' | 'id'>, fields: Partial<Job>, entry: NewLog): Promise<Job | null> {
    return this.#jobs.change(accountId, id, ({ status }) => (status === 'running' ? fields : null), [entry]);
  }
}

/** One page of the source's list. */
class Page {
  readonly #r2: Pick<R2, 'objects'>;
  readonly #slurp: Slurp;
  readonly #jobs: Jobs;
  readonly #job: Job;
  readonly #bucket: Bucket;
  readonly #stop: AbortSignal;
  /** Aborted if something is wrong that concerns all objects. */
  readonly #failed = new AbortController();
  readonly #counts: JobCounts = noCounts();
  readonly #logs: NewLog[] = [];

  constructor(r2: Pick<R2, 'objects'>, slurp: Slurp, jobs: Jobs, job: Job, bucket: Bucket, stop: AbortSignal) {
    this.#r2 = r2;
    this.#slurp = slurp;
    this.#jobs = jobs;
    this.#job = job;
    this.#bucket = bucket;
    this.#stop = AbortSignal.any([stop, this.#failed.signal]);
  }

  /** Throws SourceError for a source that does not list its keys or is gone, and what storing throws: the page is not done then. */
  async copy(): Promise<void> {
    const { accountId, id, source, prefix, token } = this.#job;
    const { keys, next } = await this.#retried(() => this.#slurp.source.list(accountId, source, { prefix, token }));
    this.#counts.objects = keys.length;
    const over = new AbortController();
    const saving = this.#saveNowAndThen(over.signal);
    try {
      await this.#copyAll(keys);
    } finally {
      over.abort();
      await saving;
      if (this.#stop.aborted) await this.#save();
    }
    if (this.#stop.aborted) return;
    const isLast = next === null;
    const changed = await this.#jobs.change(
      accountId,
      id,
      (job) =>
        isEnded(job)
          ? null
          : {
              done: addCounts(job.done, this.#counts),
              page: noCounts(),
              token: next ?? undefined,
              ...(isLast && { status: 'completed' }),
            },
      [...this.#logs, ...(isLast ? [{ logType: 'migrationComplete' } as const] : [])],
    );
    if (!changed) await this.#save();
  }

  async #copyAll(keys: SourceKey[]): Promise<void> {
    const rest = keys.values();
    const work = async () => {
      for (const key of rest) {
        if (this.#stop.aborted) return;
        await this.#copyOne(key);
      }
    };
    const workers = Array.from({ length: COPIES }, () =>
      work().catch((error: unknown) => {
        this.#failed.abort();
        throw error;
      }),
    );
    // All have ended before anything is said.
    const failed = (await Promise.allSettled(workers)).find((worker) => worker.status === 'rejected');
    if (failed) throw failed.reason;
  }

  async #copyOne(found: SourceKey): Promise<void> {
    const { key } = found;
    try {
      const outcome = await this.#outcome(found);
      this.#counts[outcome]++;
      if (outcome === 'transferred') this.#counts.bytes += found.size;
    } catch (error) {
      if (this.#stop.aborted) return;
      if (error instanceof SourceError && error.code === 'InvalidObjectState') {
        this.#counts.skipped++;
        const message = 'the source keeps the object in an archive: restore it there first';
        this.#logs.push({ logType: 'importSkippedStorageClass', objectKey: key, message });
        return;
      }
      const isOfObject =
        error instanceof SourceError
          ? !error.unreachable
          : error instanceof R2Error && OF_THE_OBJECT.includes(error.error);
      if (!isOfObject) throw error;
      this.#counts.failed++;
      this.#logs.push({ logType: 'importErrorRetryExhaustion', objectKey: key, message: reason(error) });
    }
  }

  async #outcome({ key, size, etag }: SourceKey): Promise<'transferred' | 'skipped'> {
    const { source, overwrite, createdAt } = this.#job;
    const here = await this.#r2.objects.find(this.#bucket, key);
    if (here && here.size === size && here.etag === etag) {
      // It came with the page that was broken off.
      return here.uploaded >= createdAt ? 'transferred' : 'skipped';
    }
    if (here && !overwrite) return 'skipped';
    const stored = await this.#retried(() => this.#slurp.copy(this.#bucket, source, key, { overwrite }));
    // It was deleted there meanwhile.
    return stored ? 'transferred' : 'skipped';
  }

  /** Tries again what may do better. */
  async #retried<T>(work: () => Promise<T>): Promise<T> {
    for (const pauseMs of RETRY_MS) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof SourceError && error.transient) || this.#stop.aborted) throw error;
        await sleep(pauseMs, undefined, { signal: this.#stop });
      }
    }
    return work();
  }

  async #saveNowAndThen(over: AbortSignal): Promise<void> {
    try {
      for (;;) {
        await sleep(SAVE_MS, undefined, { signal: over });
        await this.#save();
      }
    } catch (error) {
      if (!over.aborted) log('warn', 'the progress of a job was not written', { error: reason(error) });
    }
  }

  async #save(): Promise<void> {
    const page = { ...this.#counts };
    await this.#jobs.change(this.#job.accountId, this.#job.id, () => ({ page }));
  }
}
