/** Jobs that copy a bucket of S3: their documents and logs. The process of R2 does the work (`job-runner.ts`). */
import { randomBytes } from 'node:crypto';
import { type Ledger, RevisionConflict, type Write } from '../../state/ledger.ts';
import { type Bucket, type Job, type JobCounts, type JobLog, keys, type Source } from './documents.ts';

/** Of one account. */
export const MAX_RUNNING_JOBS = 3;
const MAX_OPEN_JOBS = 100;
/** Ended jobs of an account that are kept, the newest. */
const MAX_ENDED_JOBS = 100;
/** Objects that a job's log names; what begins and ends it is told above it, too. */
const MAX_OBJECT_LOGS = 1000;
const MAX_LOGS = 1200;
const MAX_MESSAGE_LENGTH = 500;

export type NewLog = Pick<JobLog, 'logType'> & Partial<Pick<JobLog, 'message' | 'objectKey'>>;

export interface NewJob {
  source: Source;
  prefix: string;
  overwrite: boolean;
}

export const noCounts = (): JobCounts => ({ objects: 0, transferred: 0, skipped: 0, failed: 0, bytes: 0 });

export function addCounts(a: JobCounts, b: JobCounts): JobCounts {
  const sum = noCounts();
  for (const name of Object.keys(sum) as (keyof JobCounts)[]) sum[name] = a[name] + b[name];
  return sum;
}

export class Jobs {
  readonly #ledger: Ledger;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** Null if the account has the most jobs running that it may have. */
  async create({ accountId, id, name }: Bucket, { source, prefix, overwrite }: NewJob): Promise<Job | null> {
    const known = await this.list(accountId);
    if (!mayRun(known) || known.filter((job) => !isEnded(job)).length >= MAX_OPEN_JOBS) return null;
    for (const job of known.filter(isEnded).slice(MAX_ENDED_JOBS - 1)) await this.#remove(job);
    const job: Job = {
      id: randomBytes(16).toString('hex'),
      accountId,
      bucket: { id, name },
      source,
      prefix,
      overwrite,
      status: 'running',
      createdAt: Date.now(),
      finishedAt: null,
      done: noCounts(),
      page: noCounts(),
      error: null,
      logged: 0,
    };
    const [changed, logs] = withLogs(job, [{ logType: 'migrationStart' }]);
    await this.#ledger.write([{ key: keys.job(accountId, job.id), value: changed, expected: 0 }, ...logs]);
    return changed;
  }

  /** Null if the account has no such job. */
  async find(accountId: string, id: string): Promise<Job | null> {
    return (await this.#ledger.get<Job>(keys.job(accountId, id)))?.value ?? null;
  }

  /** The newest first; of all accounts without one. */
  async list(accountId?: string): Promise<Job[]> {
    const jobs = (await this.#ledger.list<Job>(keys.jobs(accountId))).map(({ value }) => value);
    return jobs.sort((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? -1 : 1));
  }

  /** By time. */
  async logs({ id }: Job): Promise<JobLog[]> {
    return (await this.#ledger.list<JobLog>(keys.jobLogs(id))).map(({ value }) => value);
  }

  /**
   * Changes a job durably, and adds to its log. `change` gives the fields that change, or null for "leave it"; then null is returned, as for a
   * job that is not there. It may be called several times.
   */
  async change(
    accountId: string,
    id: string,
    change: (job: Job) => Partial<Job> | null,
    logs: NewLog[] = [],
  ): Promise<Job | null> {
    for (;;) {
      const entry = await this.#ledger.get<Job>(keys.job(accountId, id));
      const fields = entry && change(entry.value);
      if (!fields) return null;
      const [job, writes] = withLogs(withoutSecret({ ...entry.value, ...fields }), logs);
      try {
        await this.#ledger.write([{ key: entry.key, value: job, expected: entry.revision }, ...writes]);
        return job;
      } catch (error) {
        if (!(error instanceof RevisionConflict)) throw error;
      }
    }
  }

  async #remove(job: Job): Promise<void> {
    const logs = await this.#ledger.list(keys.jobLogs(job.id));
    const writes = [...logs.map(({ key }) => key), keys.job(job.accountId, job.id)];
    await this.#ledger.write(writes.map((key) => ({ key, value: null })));
  }
}

export function isEnded({ status }: Job): boolean {
  return status === 'aborted' || status === 'completed';
}

/** May one more of an account's jobs run? */
export function mayRun(jobs: Job[]): boolean {
  return jobs.filter(({ status }) => status === 'running').length < MAX_RUNNING_JOBS;
}

/** What has ended needs its secret no more. */
function withoutSecret(job: Job): Job {
  if (!isEnded(job)) return job;
  return { ...job, finishedAt: job.finishedAt ?? Date.now(), source: { ...job.source, secretAccessKey: '' } };
}

function withLogs(job: Job, logs: NewLog[]): [Job, Write[]] {
  const writes: Write[] = [];
  let { logged } = job;
  const createdAt = new Date().toISOString();
  for (const { logType, message = null, objectKey = null } of logs) {
    if (logged >= (objectKey === null ? MAX_LOGS : MAX_OBJECT_LOGS)) continue;
    const value: JobLog = { createdAt, logType, message: message?.slice(0, MAX_MESSAGE_LENGTH) ?? null, objectKey };
    writes.push({ key: keys.jobLog(job.id, logged++), value });
  }
  return [{ ...job, logged }, writes];
}
