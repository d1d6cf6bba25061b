/** Queues of accounts: what was said of them, and sending to them. */
import { randomBytes } from 'node:crypto';
import { log } from '../../model/log.ts';
import type { Backlog, Failing, Messages, QueueEntry } from '../../state/messages.ts';
import { Overloaded } from '../../state/threaded-ledger.ts';
import { DEFAULTS, type Format, QUEUES, QueueError } from './limits.ts';

/** Times in seconds. */
export interface QueueSettings {
  deliveryDelay: number;
  retention: number;
  /** Consumers get nothing; senders may send. */
  paused: boolean;
}

interface AnyConsumer {
  /** 32 hex digits. */
  id: string;
  createdOn: string;
  batchSize: number;
  maxRetries: number;
  /** Seconds. */
  retryDelay: number;
  /** Name of a queue of the account. */
  deadLetterQueue: string | null;
}
/** A Worker whose queue() gets batches. */
export interface WorkerConsumer extends AnyConsumer {
  type: 'worker';
  script: string;
  maxWaitMs: number;
  /** Null: the default. */
  maxConcurrency: number | null;
}
/** Whoever asks the API for messages. */
export interface PullConsumer extends AnyConsumer {
  type: 'http_pull';
  visibilityMs: number;
}
export type Consumer = WorkerConsumer | PullConsumer;

/** ISO 8601. A queue has one consumer at most. */
export interface QueueDocument {
  createdOn: string;
  modifiedOn: string;
  settings: QueueSettings;
  consumer: Consumer | null;
}

export type Queue = QueueEntry<QueueDocument>;

export interface Outgoing {
  body: Uint8Array;
  format: Format;
  /** Seconds; undefined: what the queue says. */
  delay?: number;
}

export const DEFAULT_SETTINGS: QueueSettings = {
  deliveryDelay: 0,
  retention: QUEUES.defaultRetention,
  paused: false,
};

export const newQueueId = () => randomBytes(16).toString('hex');

export class Queues {
  readonly messages: Messages<QueueDocument>;

  constructor(messages: Messages<QueueDocument>) {
    this.messages = messages;
  }

  /** Null if the account has none of this id. */
  find(accountId: string, id: string): Queue | null {
    if (!/^[0-9a-f]{32}$/.test(id)) return null;
    const queue = this.messages.byId(id);
    return queue?.accountId === accountId ? queue : null;
  }

  /** What is to be done with messages of a queue that fail too often. */
  failing(queue: Queue): Failing {
    const { consumer } = queue.document;
    const name = consumer?.deadLetterQueue ?? null;
    const deadLetters = name === null ? null : (this.messages.byName(queue.accountId, name)?.key ?? null);
    return { maxRetries: consumer?.maxRetries ?? DEFAULTS.maxRetries, deadLetters };
  }

  /** Says what became of messages that failed too often: the id of the queue that has them now, null if they are gone. */
  buried(queue: Queue, ids: string[]): string | null {
    if (ids.length === 0) return null;
    const name = queue.document.consumer?.deadLetterQueue ?? null;
    const letters = name === null ? null : this.messages.byName(queue.accountId, name);
    if (letters) return letters.id;
    const { id, accountId } = queue;
    log('warn', 'messages failed too often and are gone', { queue: id, accountId, ids, deadLetterQueue: name });
    return null;
  }

  /** Messages that are older are gone. */
  keepFrom(queue: Queue, now: number): number {
    return now - queue.document.settings.retention * 1000;
  }

  /** On disk when it resolves, all or none. Sizes are checked by the caller. Throws QueueError. */
  async send(queue: Queue, outgoing: Outgoing[]): Promise<Backlog> {
    const now = Date.now();
    const { deliveryDelay } = queue.document.settings;
    const messages = outgoing.map(({ body, format, delay = deliveryDelay }) => ({
      id: newQueueId(),
      format,
      body,
      due: now + delay * 1000,
    }));
    const backlog = await this.messages.send(queue.key, messages, now, QUEUES.backlogBytes).catch((error: unknown) => {
      if (error instanceof Overloaded) throw new QueueError(10250, 'Queue is overloaded. Please back off.');
      throw error;
    });
    if (backlog === 'absent') throw new QueueError(10104, 'Queue does not exist');
    if (backlog === 'full') throw new QueueError(10251, 'Storage Limit Exceeded');
    return backlog;
  }
}
