/**
 * Brings the messages of one queue to the Worker that consumes it: waits until a batch is full or has waited long enough, keeps a process
 * of the Worker for it, and settles what the Worker said. What the queue is and who consumes it is read anew for each batch.
 */
import { log, reason } from '../../model/log.ts';
import type { Requests } from '../../model/messages.ts';
import type { Bus } from '../../state/bus.ts';
import type { Lease, LeasedMessage } from '../../state/messages.ts';
import { deliver, encodeBatch, NotReached, type QueueResult, verdicts } from './delivery.ts';
import { DEFAULTS, QUEUES } from './limits.ts';
import type { Queue, Queues, WorkerConsumer } from './queues.ts';

/** A start may have to compile and to evaluate a large script. */
const HOLD_MS = 15_000;
/** For the answer to come. */
const ANSWER_MS = 5_000;
/** A batch that nobody settles is due again then: longer than a handler may run. */
const LEASE_MS = QUEUES.handlerMs + 60_000;
/** A batch ends with the message that makes it larger. */
const BATCH_BYTES = 4_000_000;
/** Pauses after a Worker could not be started, or the disk failed. */
const MIN_PAUSE_MS = 500;
const MAX_PAUSE_MS = 30_000;
/** Before a process that does not read, others of the account have to wait for their turn. */
const UNSENT_PAUSE_MS = 100;

/** What couriers share. */
export interface CourierOptions {
  bus: Bus;
  queues: Queues;
  /** The name of this process among those that hold others. */
  name: string;
  /** Has the account so much on the way to processes which do not read it that nothing more may be added? */
  isStuffed(accountId: string): boolean;
  onUnsent(accountId: string, bytes: number): void;
  /** A queue got messages from this one: it is the one for dead letters. */
  notice(queueId: string): void;
}

type Hold = Requests['local.hold'][1];

export class Courier {
  readonly #options: CourierOptions;
  readonly #id: string;
  readonly #deliveries = new Set<Promise<void>>();
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = 0;
  #pausedUntil = 0;
  #isLooking = false;
  #lookAgain = false;
  #closed = false;

  constructor(options: CourierOptions, queueId: string) {
    this.#options = options;
    this.#id = queueId;
  }

  /** Looks whether there is something to deliver. `fresh`: what kept the consumer from taking messages may be over. */
  look(fresh = false): void {
    if (fresh) this.#pausedUntil = 0;
    this.#lookAgain = true;
    if (!this.#isLooking && !this.#closed) void this.#run();
  }

  /** Delivers no more. Resolves when the batches that are on their way are settled. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await Promise.all(this.#deliveries);
  }

  get isIdle(): boolean {
    return !this.#isLooking && this.#deliveries.size === 0;
  }

  async #run(): Promise<void> {
    this.#isLooking = true;
    while (this.#lookAgain && !this.#closed) {
      this.#lookAgain = false;
      clearTimeout(this.#timer);
      try {
        while (!this.#closed && (await this.#next()));
      } catch (error) {
        this.#pauseMs = Math.min(Math.max(MIN_PAUSE_MS, this.#pauseMs * 2), MAX_PAUSE_MS);
        this.#pausedUntil = Date.now() + this.#pauseMs;
        this.#lookAt(this.#pausedUntil);
        log('warn', 'a queue is not delivered now', { queue: this.#id, error: reason(error), pauseMs: this.#pauseMs });
      }
    }
    this.#isLooking = false;
  }

  /** Sends the next batch if it is time for it; false if it is not. Throws what is in the way. */
  async #next(): Promise<boolean> {
    const { queues } = this.#options;
    const { messages } = queues;
    const queue = messages.byId(this.#id);
    const consumer = queue?.document.consumer;
    if (!queue || consumer?.type !== 'worker' || queue.document.settings.paused) return false;
    // One that ends looks again.
    if (this.#deliveries.size >= (consumer.maxConcurrency ?? DEFAULTS.concurrency)) return false;
    const now = Date.now();
    const due = Math.max(this.#pausedUntil, batchDue(messages.dues(queue.key, consumer.batchSize), consumer, now));
    if (due > now) {
      this.#lookAt(due);
      return false;
    }
    if (this.#options.isStuffed(queue.accountId)) {
      this.#lookAt(now + UNSENT_PAUSE_MS);
      return false;
    }
    const hold = await this.#hold(queue, consumer);
    try {
      const batch = await this.#lease(queue, consumer);
      this.#pauseMs = 0;
      if (batch.length === 0) {
        this.#unhold(hold);
        return true;
      }
      const delivery = this.#deliver(queue, consumer, hold, batch).finally(() => {
        this.#deliveries.delete(delivery);
        this.look();
      });
      this.#deliveries.add(delivery);
      return true;
    } catch (error) {
      this.#unhold(hold);
      throw error;
    }
  }

  #lookAt(time: number): void {
    clearTimeout(this.#timer);
    if (time < Number.POSITIVE_INFINITY) this.#timer = setTimeout(() => this.look(), Math.max(1, time - Date.now()));
  }

  #hold({ accountId }: Queue, { script }: WorkerConsumer): Promise<Hold> {
    const { bus, name: from } = this.#options;
    const asked: Requests['local.hold'][0] = { accountId, script, event: 'queue', from, withinMs: HOLD_MS };
    return bus.request('local.hold', asked, { timeoutMs: HOLD_MS + ANSWER_MS });
  }

  #unhold({ hold }: Hold): void {
    this.#options.bus.publish('local.unhold', { hold });
  }

  async #lease(queue: Queue, { batchSize }: WorkerConsumer): Promise<LeasedMessage[]> {
    const { queues } = this.#options;
    const now = Date.now();
    const { messages, dead } = await queues.messages.lease({
      queue: queue.key,
      now,
      until: now + LEASE_MS,
      limit: batchSize,
      limitBytes: BATCH_BYTES,
      keepFrom: queues.keepFrom(queue, now),
      ...queues.failing(queue),
    });
    this.#tellDead(queue, dead);
    return messages;
  }

  /** Sends a batch. It is not kept: its Worker may have it for long. */
  #deliver(queue: Queue, consumer: WorkerConsumer, hold: Hold, batch: LeasedMessage[]): Promise<void> {
    const leases = batch.map(({ sequence, id, attempts }) => ({ sequence, id, attempts }));
    return this.#settle(queue, consumer, hold, leases, this.#send(queue, hold, batch));
  }

  #send(queue: Queue, hold: Hold, batch: LeasedMessage[]): Promise<QueueResult> {
    const { queues, onUnsent } = this.#options;
    const body = encodeBatch(queue.name, batch, queues.messages.backlog(queue.key));
    onUnsent(queue.accountId, body.length);
    let unsent = body.length;
    const onSent = () => {
      onUnsent(queue.accountId, -unsent);
      unsent = 0;
    };
    return deliver(hold.socket, body, onSent);
  }

  /** Never rejects: what cannot be settled is due again when its lease ends. */
  async #settle(
    queue: Queue,
    consumer: WorkerConsumer,
    hold: Hold,
    leases: Lease[],
    sent: Promise<QueueResult>,
  ): Promise<void> {
    const { queues } = this.#options;
    try {
      const result = await this.#outcome(queue, hold, sent);
      const now = Date.now();
      if (result === 'not reached') return await queues.messages.release(queue.key, leases);
      // What is said of the consumer now counts; if it was removed meanwhile, what was said before.
      const changed = queues.messages.byId(queue.id);
      const latest = changed?.document.consumer ? changed : queue;
      const said = verdicts(leases, result, latest.document.consumer ?? consumer, now);
      const { dead } = await queues.messages.settle({ queue: queue.key, now, ...said, ...queues.failing(latest) });
      this.#tellDead(latest, dead);
    } catch (error) {
      log('error', 'a batch was not settled: it is delivered again', { queue: queue.id, error: reason(error) });
    } finally {
      this.#unhold(hold);
    }
  }

  /** Null: the Worker failed with the batch. 'not reached': it cannot be blamed for it. */
  async #outcome(queue: Queue, hold: Hold, sent: Promise<QueueResult>): Promise<QueueResult | null | 'not reached'> {
    try {
      return await sent;
    } catch (error) {
      if (error instanceof NotReached || (await this.#verdict(hold)) === 'drained') {
        this.#pausedUntil = Math.max(this.#pausedUntil, Date.now() + UNSENT_PAUSE_MS);
        return 'not reached';
      }
      log('warn', 'the process of a consumer ended with a batch', { queue: queue.id, error: reason(error) });
      return null;
    }
  }

  async #verdict({ isolate }: Hold): Promise<string> {
    try {
      const { verdict }: Requests['local.verdict'][1] = await this.#options.bus.request('local.verdict', { isolate });
      return verdict;
    } catch {
      return 'unknown';
    }
  }

  #tellDead(queue: Queue, ids: string[]): void {
    const letters = this.#options.queues.buried(queue, ids);
    if (letters) this.#options.notice(letters);
  }
}

/** When a batch is to be sent: when it is full, or its first message has waited for long enough. Infinity: there is no message. */
function batchDue(dues: number[], { batchSize, maxWaitMs }: WorkerConsumer, now: number): number {
  if (dues.length === 0) return Number.POSITIVE_INFINITY;
  const fullAt = dues.length < batchSize ? Number.POSITIVE_INFINITY : dues.at(-1)!;
  return fullAt <= now ? fullAt : Math.min(fullAt, dues[0]! + maxWaitMs);
}
