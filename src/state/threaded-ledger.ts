/**
 * The embedded Ledger for products, whose writes come from Workers at any rate: a thread of its own waits for the disk, and what arrives
 * meanwhile is committed together. Reads are made here, on a connection of their own, and wait for no write.
 */
import { Worker } from 'node:worker_threads';
import { type Change, type Entry, type Ledger, RevisionConflict, type Write } from './ledger.ts';
import { openSqliteLedger, type RawWrite, type SqliteLedger, toRaw, toText } from './sqlite-ledger.ts';

/** Writes that wait for the disk: above it they are refused. */
const MAX_WAITING = 50_000;

/** What the thread is to do: writes, or `Ledger.compact`. */
export type WriterWork = RawWrite[] | { upTo: number };
export interface WriterRequest {
  id: number;
  work: WriterWork;
}
/** `revisions`: of each write. `conflict`: the key that was not as expected. */
export type WriterAnswer = { id: number } & ({ revisions: number[] } | { conflict: string } | { error: string });

/** There are more writes than the disk takes. */
export class Overloaded extends Error {
  override name = 'Overloaded';
}

/** Opens or creates the ledger at `path`. Throws DamagedState if the file is not a sound one. */
export async function openThreadedLedger(path: string): Promise<Ledger> {
  // First here: a file that is damaged is named by the one who opens it.
  const reader = openSqliteLedger(path);
  const ledger = new ThreadedLedger(path, reader);
  await ledger.started;
  return ledger;
}

class ThreadedLedger implements Ledger {
  readonly started: Promise<void>;
  readonly #reader: SqliteLedger;
  readonly #writer: Worker;
  readonly #waiting = new Map<number, { resolve: (revisions: number[]) => void; reject: (error: Error) => void }>();
  #next = 0;
  #failure: Error | null = null;

  constructor(path: string, reader: SqliteLedger) {
    this.#reader = reader;
    this.#writer = new Worker(new URL('./ledger-writer.ts', import.meta.url), { workerData: { path } });
    this.started = new Promise((resolve, reject) => {
      this.#writer.once('message', () => resolve());
      this.#writer.once('error', reject);
    });
    this.#writer.on('message', (answers: WriterAnswer[] | 'ready') => {
      if (answers !== 'ready') this.#onAnswers(answers);
    });
    this.#writer.on('error', (error) => this.#fail(error instanceof Error ? error : new Error(String(error))));
    this.#writer.on('exit', () => this.#fail(new Error('the ledger is closed')));
  }

  get<T>(key: string): Promise<Entry<T> | null> {
    return this.#reader.get<T>(key);
  }

  list<T>(prefix: string, options?: { after?: string; limit?: number }): Promise<Entry<T>[]> {
    return this.#reader.list<T>(prefix, options);
  }

  async put(key: string, value: unknown, expected?: number): Promise<number> {
    const [revision] = await this.#send([{ key, text: toText(key, value), expected }]);
    return revision!;
  }

  async write(writes: Write[]): Promise<void> {
    if (writes.length > 0) await this.#send(toRaw(writes));
  }

  async delete(key: string, expected?: number): Promise<void> {
    const entry = await this.#reader.get(key);
    if (!entry) {
      if (expected) throw new RevisionConflict(key);
      return;
    }
    await this.#send([{ key, text: null, expected }]);
  }

  async compact(upTo: number): Promise<void> {
    await this.#send({ upTo });
  }

  sequence(): Promise<number> {
    return this.#reader.sequence();
  }

  watch(from: number, handler: (changes: Change[]) => void | Promise<void>): () => void {
    return this.#reader.watch(from, handler);
  }

  /** What was handed over is written first. */
  async close(): Promise<void> {
    const exited = new Promise((resolve) => this.#writer.once('exit', resolve));
    if (!this.#failure) {
      this.#writer.postMessage('close');
      await exited;
    }
    await this.#reader.close();
  }

  #send(work: WriterWork): Promise<number[]> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#waiting.size >= MAX_WAITING) {
      return Promise.reject(new Overloaded(`more than ${MAX_WAITING} writes wait for the disk`));
    }
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#writer.postMessage({ id, work } satisfies WriterRequest);
    });
  }

  #onAnswers(answers: WriterAnswer[]): void {
    // Followers of this process need not wait until the file system tells of the write.
    this.#reader.noticed();
    for (const answer of answers) {
      const waiting = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      if ('error' in answer) waiting?.reject(new Error(answer.error));
      else if ('conflict' in answer) waiting?.reject(new RevisionConflict(answer.conflict));
      else waiting?.resolve(answer.revisions);
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }
}
