/** All couriers of the machine: who has to look when a queue, its messages or its consumer changed. */
import { log, reason } from '../../model/log.ts';
import type { Publications } from '../../model/messages.ts';
import type { Bus } from '../../state/bus.ts';
import { Courier, type CourierOptions } from './courier.ts';
import type { Queues } from './queues.ts';

/** All queues are looked at this often, in case that a word of another process was lost. */
const SWEEP_MS = 10_000;
/** Of one account, on the way to processes that do not read it. */
const MAX_UNSENT_BYTES = 32_000_000;
const CLOSE_TIMEOUT_MS = 2_000;

export class Broker {
  readonly #queues: Queues;
  readonly #options: CourierOptions;
  readonly #couriers = new Map<string, Courier>();
  readonly #unsent = new Map<string, number>();
  readonly #stops: (() => void)[];
  #timer: NodeJS.Timeout | undefined;
  #isReady = false;
  #closed = false;

  /** `name`: of this process among those that hold others. */
  constructor(bus: Bus, queues: Queues, name: string) {
    this.#queues = queues;
    this.#options = {
      bus,
      queues,
      name,
      isStuffed: (accountId) => (this.#unsent.get(accountId) ?? 0) >= MAX_UNSENT_BYTES,
      onUnsent: (accountId, bytes) => {
        const sum = (this.#unsent.get(accountId) ?? 0) + bytes;
        if (sum > 0) this.#unsent.set(accountId, sum);
        else this.#unsent.delete(accountId);
      },
      notice: (queueId) => this.notice(queueId),
    };
    this.#stops = [
      bus.subscribe('local.queue-changed', ({ queueId }: Publications['local.queue-changed']) => {
        this.notice(queueId, true);
      }),
      bus.subscribe('local.docs', ({ changes }: Publications['local.docs']) => {
        for (const { doc } of changes) if (doc?.kind === 'script') this.#onDeploy(doc.accountId, doc.name);
      }),
    ];
    void this.#start();
  }

  /** The queue or its messages changed. `fresh`: so did perhaps what kept its consumer from taking messages. */
  notice(queueId: string, fresh = false): void {
    // Before that, all queues are going to be looked at anyway.
    if (this.#closed || !this.#isReady) return;
    let courier = this.#couriers.get(queueId);
    if (!courier) {
      if (this.#queues.messages.byId(queueId)?.document.consumer?.type !== 'worker') return;
      courier = new Courier(this.#options, queueId);
      this.#couriers.set(queueId, courier);
    }
    courier.look(fresh);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    for (const stop of this.#stops) stop();
    const settled = Promise.all([...this.#couriers.values()].map((courier) => courier.close()));
    const timeout = new Promise((resolve) => setTimeout(resolve, CLOSE_TIMEOUT_MS).unref());
    await Promise.race([settled, timeout]);
  }

  /** What the process before this one had given out is given out again: nobody will say what became of it. */
  async #start(): Promise<void> {
    const { messages } = this.#queues;
    const consumed = messages.queues().filter(({ document }) => document.consumer?.type === 'worker');
    try {
      await Promise.all(consumed.map(({ key }) => messages.releaseAll(key)));
    } catch (error) {
      log('error', 'deliveries were not taken back: they are due when their leases end', { error: reason(error) });
    }
    if (this.#closed) return;
    this.#isReady = true;
    this.#sweep();
    this.#timer = setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  #sweep(): void {
    const consumed = new Set<string>();
    for (const { id, document } of this.#queues.messages.queues()) {
      if (document.consumer?.type !== 'worker') continue;
      consumed.add(id);
      this.notice(id);
    }
    for (const [id, courier] of this.#couriers) {
      if (!consumed.has(id) && courier.isIdle) this.#couriers.delete(id);
    }
  }

  #onDeploy(accountId: string, script: string): void {
    for (const id of this.#couriers.keys()) {
      const queue = this.#queues.messages.byId(id);
      const consumer = queue?.document.consumer;
      if (queue?.accountId === accountId && consumer?.type === 'worker' && consumer.script === script)
        this.notice(id, true);
    }
  }
}
