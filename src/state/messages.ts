/**
 * Messages of queues: what is in them, in which order it becomes due, and who has it at the moment. Reads wait for nothing; every change
 * is on disk when it resolves. The embedded driver is `sqlite-messages.ts` with a thread that writes (`threaded-messages.ts`). Times are
 * milliseconds since 1970.
 */

/** A queue as the store knows it; what else is to be said of it is the owner's `document`. */
export interface QueueEntry<T = unknown> {
  /** The store's own name for it; never given to another queue. */
  key: number;
  /** 32 hex digits. */
  id: string;
  accountId: string;
  name: string;
  document: T;
  /** Of its messages, those included that are out for delivery. */
  count: number;
  bytes: number;
}

export interface NewMessage {
  id: string;
  format: string;
  body: Uint8Array;
  /** When it may be delivered. */
  due: number;
}

/** A message that is out for delivery until its lease ends. */
export interface LeasedMessage {
  /** Its place in the order of arrival. */
  sequence: number;
  id: string;
  format: string;
  sent: number;
  /** Deliveries, this one included: it also names the lease. */
  attempts: number;
  body: Uint8Array;
}

/** Names a message as somebody was given it. */
export interface Lease {
  sequence: number;
  id: string;
  attempts: number;
}

export interface Backlog {
  count: number;
  bytes: number;
  /** When the oldest message was sent; 0 if there is none. */
  oldest: number;
}

/** What happens to messages whose deliveries failed too often. */
export interface Failing {
  /** A message may be delivered once and this many times more. */
  maxRetries: number;
  /** Key of the queue that takes those that failed; null: they are dropped. */
  deadLetters: number | null;
}

export interface LeaseRequest extends Failing {
  queue: number;
  now: number;
  /** When the messages are due again if nobody settles them. */
  until: number;
  limit: number;
  /** The batch ends with the message that reaches it. */
  limitBytes: number;
  /** Messages that were sent before are gone. */
  keepFrom: number;
}

export interface Settlement extends Failing {
  queue: number;
  now: number;
  acks: Lease[];
  retries: (Lease & { due: number })[];
}

export interface Settled {
  acked: number;
  retried: number;
  /** Ids of messages that failed too often, and are now in the queue for dead letters or gone. */
  dead: string[];
}

export interface Messages<T = unknown> {
  queues(): QueueEntry<T>[];
  byId(id: string): QueueEntry<T> | null;
  byName(accountId: string, name: string): QueueEntry<T> | null;
  /** Of an account, by name. */
  ofAccount(accountId: string): QueueEntry<T>[];
  backlog(queue: number): Backlog;
  /** When the next messages are due, at most `limit` of them, in order. */
  dues(queue: number, limit: number): number[];

  /** False if the account has a queue of the name. */
  create(queue: Pick<QueueEntry<T>, 'id' | 'accountId' | 'name' | 'document'>): Promise<boolean>;
  /** False if another queue of the account has the name, or there is no such queue. */
  change(queue: number, name: string, document: T): Promise<boolean>;
  /** Removes a queue; its messages go with it. */
  remove(queue: number): Promise<void>;
  /** Does what is left of removals that were cut off. */
  finishRemovals(): Promise<void>;

  /** Adds messages, all or none. 'absent': no such queue. 'full': it would have more than `maxBytes`. */
  send(queue: number, messages: NewMessage[], now: number, maxBytes: number): Promise<Backlog | 'absent' | 'full'>;
  /** Gives out messages that are due. `dead`: ids of those that were given out too often already. */
  lease(request: LeaseRequest): Promise<{ messages: LeasedMessage[]; dead: string[] }>;
  /**
   * Ends deliveries. An acknowledgement counts whenever it comes; what is to be delivered again counts only if nobody else was given the
   * message meanwhile.
   */
  settle(settlement: Settlement): Promise<Settled>;
  /** Takes deliveries back as if they had never been: the messages are due, and first by when they were sent. */
  release(queue: number, leases: Lease[]): Promise<void>;
  /** The same for all deliveries of a queue. */
  releaseAll(queue: number): Promise<void>;
  /** Deletes all messages that are there when it is called. */
  purge(queue: number): Promise<void>;
  /** Deletes messages that were sent before `before`. Returns how many. */
  expire(queue: number, before: number): Promise<number>;
  /** What was handed over is written first. */
  close(): Promise<void>;
}
