/**
 * What the data process opens for isolate processes: asked of it when one starts, and again of the data process that takes its place. Who
 * starts while there is none waits for the next.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { log, reason } from '../model/log.ts';
import type { Attach } from '../model/messages.ts';
import { type Bus, NoResponder } from '../state/bus.ts';

const TIMEOUT_MS = 5_000;
const RETRY_MS = 20;

export class Rooms {
  readonly #bus: Pick<Bus, 'request'>;
  readonly #attached = new Map<string, Attach>();

  constructor(bus: Pick<Bus, 'request'>) {
    this.#bus = bus;
  }

  /** The sockets take connections when it resolves. Throws if they cannot be opened, or nobody can for five seconds. */
  async attach(attach: Attach): Promise<void> {
    this.#attached.set(attach.isolate, attach);
    for (const deadline = Date.now() + TIMEOUT_MS; ; await sleep(RETRY_MS)) {
      try {
        return await this.#open(attach);
      } catch (error) {
        const wanted = this.#attached.get(attach.isolate) === attach;
        if (!wanted || !(error instanceof NoResponder) || Date.now() > deadline) throw error;
      }
    }
  }

  /** The sockets are closed, or the process that had them is gone. */
  async detach(isolate: string): Promise<void> {
    this.#attached.delete(isolate);
    await this.#bus.request('local.detach', { isolate }).catch((error: unknown) => {
      if (!(error instanceof NoResponder)) throw error;
    });
  }

  /** Another data process runs: the sockets of the running isolates went with the old one. */
  async attachAgain(): Promise<void> {
    for (const attach of this.#attached.values()) {
      await this.#open(attach).catch((error: unknown) => {
        log('error', 'an isolate process could not be attached again', { error: reason(error) });
      });
    }
  }

  #open(attach: Attach): Promise<void> {
    return this.#bus.request('local.attach', attach, { timeoutMs: TIMEOUT_MS });
  }
}
