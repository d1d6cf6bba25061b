/**
 * Work that a client starts with one call and asks for with others (imports, exports): each call waits a while for its end. Jobs are in memory:
 * after a restart of the core the client starts anew.
 */
import { randomBytes } from 'node:crypto';

/** An answer takes at most this long; wrangler asks again at once. */
const WAIT_MS = 5_000;
/** How long an ended job is remembered. */
const KEPT_MS = 600_000;

export type JobState<T> =
  | { status: 'active' }
  | { status: 'complete'; result: T }
  | { status: 'error'; error: unknown };

interface Job<T> {
  owner: string;
  state: JobState<T>;
  ended: Promise<void>;
}

export class Jobs<T> {
  readonly #jobs = new Map<string, Job<T>>();
  readonly #most: number;

  /** `most`: jobs of one owner at the same time. */
  constructor(most: number) {
    this.#most = most;
  }

  /** Starts a job of an owner and returns its id; null if the owner has too many that run. */
  start(owner: string, work: () => Promise<T>): string | null {
    const running = [...this.#jobs.values()].filter((job) => job.owner === owner && job.state.status === 'active');
    if (running.length >= this.#most) return null;
    const id = randomBytes(16).toString('hex');
    const job: Job<T> = { owner, state: { status: 'active' }, ended: Promise.resolve() };
    job.ended = work()
      .then(
        (result) => {
          job.state = { status: 'complete', result };
        },
        (error: unknown) => {
          job.state = { status: 'error', error };
        },
      )
      .finally(() => {
        setTimeout(() => this.#jobs.delete(id), KEPT_MS).unref();
      });
    this.#jobs.set(id, job);
    return id;
  }

  /** How the job stands when it has ended, or after a while; null if the owner has none of this id. */
  async wait(owner: string, id: string, waitMs = WAIT_MS): Promise<JobState<T> | null> {
    const job = this.#jobs.get(id);
    if (job?.owner !== owner) return null;
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([
      job.ended,
      new Promise((resolve) => {
        timer = setTimeout(resolve, waitMs);
      }),
    ]);
    clearTimeout(timer);
    return job.state;
  }
}
