/**
 * Messages whose changes come from Workers at any rate: a thread of its own waits for the disk, and what arrives meanwhile is committed
 * together. Reads are made here, on a connection of their own, and wait for no change.
 */
import { Worker } from 'node:worker_threads';
import type { Messages, QueueEntry } from './messages.ts';
import { SqliteMessages } from './sqlite-messages.ts';
import { Overloaded } from './threaded-ledger.ts';

/** Changes of one transaction: the first ones should not wait for the last. */
export const MAX_CHANGES = 500;
/** Changes that wait for the disk: above it they are refused. */
const MAX_WAITING = 20_000;
/** Messages that one transaction deletes: others want to write as well. */
const DELETE_AT_ONCE = 1_000;

type Method =
  | 'create'
  | 'change'
  | 'remove'
  | 'forget'
  | 'send'
  | 'lease'
  | 'settle'
  | 'release'
  | 'releaseAll'
  | 'dropFirst';
export interface Change {
  method: Method;
  args: unknown[];
}
export interface ChangeRequest {
  id: number;
  change: Change;
}
export type ChangeAnswer = { id: number; result: unknown } | { id: number; error: string };

/** Opens or creates the store at `path`. `document` of its queues is of type T. Throws DamagedState if the file is not a sound one. */
export async function openThreadedMessages<T>(path: string): Promise<Messages<T>> {
  // First here: a file that is damaged is named by the one who opens it.
  const messages = new ThreadedMessages<T>(path, new SqliteMessages(path));
  await messages.started;
  return messages;
}

class ThreadedMessages<T> implements Messages<T> {
  readonly started: Promise<void>;
  readonly #reader: SqliteMessages;
  readonly #writer: Worker;
  readonly #waiting = new Map<number, { resolve: (result: any) => void; reject: (error: Error) => void }>();
  #next = 0;
  #failure: Error | null = null;

  constructor(path: string, reader: SqliteMessages) {
    this.#reader = reader;
    this.#writer = new Worker(new URL('./messages-writer.ts', import.meta.url), { workerData: { path } });
    this.started = new Promise((resolve, reject) => {
      this.#writer.once('message', () => resolve());
      this.#writer.once('error', reject);
    });
    this.#writer.on('message', (answers: ChangeAnswer[] | 'ready') => {
      if (answers !== 'ready') this.#onAnswers(answers);
    });
    this.#writer.on('error', (error) => this.#fail(error instanceof Error ? error : new Error(String(error))));
    this.#writer.on('exit', () => this.#fail(new Error('the store of messages is closed')));
  }

  queues = () => this.#reader.queues() as QueueEntry<T>[];
  byId = (id: string) => this.#reader.byId(id) as QueueEntry<T> | null;
  byName = (accountId: string, name: string) => this.#reader.byName(accountId, name) as QueueEntry<T> | null;
  ofAccount = (accountId: string) => this.#reader.ofAccount(accountId) as QueueEntry<T>[];
  backlog = (queue: number) => this.#reader.backlog(queue);
  dues = (queue: number, limit: number) => this.#reader.dues(queue, limit);

  create: Messages<T>['create'] = (...args) => this.#change('create', args);
  change: Messages<T>['change'] = (...args) => this.#change('change', args);
  send: Messages<T>['send'] = (...args) => this.#change('send', args);
  settle: Messages<T>['settle'] = (...args) => this.#change('settle', args);
  release: Messages<T>['release'] = (...args) => this.#change('release', args);
  releaseAll: Messages<T>['releaseAll'] = (...args) => this.#change('releaseAll', args);

  lease: Messages<T>['lease'] = async (request) => {
    const { leased, dead }: ReturnType<SqliteMessages['lease']> = await this.#change('lease', [request]);
    // Somebody may have purged the queue meanwhile.
    const messages = leased.flatMap((message) => {
      const body = this.#reader.body(message.sequence);
      return body ? { ...message, body } : [];
    });
    return { messages, dead };
  };

  remove: Messages<T>['remove'] = async (queue) => {
    await this.#change('remove', [queue]);
    await this.purge(queue);
    await this.#change('forget', [queue]);
  };

  finishRemovals: Messages<T>['finishRemovals'] = async () => {
    for (const queue of this.#reader.removed()) await this.remove(queue);
  };

  purge: Messages<T>['purge'] = async (queue) => {
    await this.#dropFirst(queue, this.#reader.newest(queue));
  };

  expire: Messages<T>['expire'] = async (queue, before) => {
    const { oldest } = this.#reader.backlog(queue);
    // Mostly there is nothing to write.
    if (oldest === 0 || oldest >= before) return 0;
    return this.#dropFirst(queue, this.#reader.newest(queue), before);
  };

  async close(): Promise<void> {
    const exited = new Promise((resolve) => this.#writer.once('exit', resolve));
    if (!this.#failure) {
      this.#writer.postMessage('close');
      await exited;
    }
    this.#reader.close();
  }

  async #dropFirst(queue: number, upTo: number, before?: number): Promise<number> {
    for (let gone = 0; ; ) {
      const dropped = await this.#change<number>('dropFirst', [queue, upTo, DELETE_AT_ONCE, before]);
      gone += dropped;
      if (dropped < DELETE_AT_ONCE) return gone;
    }
  }

  #change<R>(method: Method, args: unknown[]): Promise<R> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#waiting.size >= MAX_WAITING) {
      return Promise.reject(new Overloaded(`more than ${MAX_WAITING} changes wait for the disk`));
    }
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#writer.postMessage({ id, change: { method, args } } satisfies ChangeRequest);
    });
  }

  #onAnswers(answers: ChangeAnswer[]): void {
    for (const answer of answers) {
      const waiting = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      if ('error' in answer) waiting?.reject(new Error(answer.error));
      else waiting?.resolve(answer.result);
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }
}
