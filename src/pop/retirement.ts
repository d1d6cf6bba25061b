/**
 * Processes that left their group: they finish what they hold, then stop. A process stops when every process that sends it
 * requests has released it and the time that `waitUntil` may use is over.
 */
import { once } from 'node:events';
import { log, reason } from '../model/log.ts';
import type { Isolate } from './isolates/host.ts';

/** waitUntil() may run this long after the response (https://developers.cloudflare.com/workers/runtime-apis/context/#waituntil). */
const WAIT_UNTIL_MS = 30_000;
/** Requests that are still open after this long (streams, WebSockets) are cut. */
const MAX_DRAIN_MS = 600_000;
const STOP_GRACE_MS = 2_000;
/** The runtime does not end by itself while WebSockets are open. */
const URGENT_STOP_MS = 300;

interface Leaving {
  isolate: Isolate;
  /** Names of the processes that may still hold requests of it. */
  holders: Set<string>;
  timer: NodeJS.Timeout;
  /** Another process waits for its end. */
  isUrgent: boolean;
  since: number;
}

export class Retirement {
  readonly #leaving = new Map<string, Leaving>();

  /** `holders`: the processes that have to release it first. */
  add(isolate: Isolate, holders: Iterable<string>): void {
    if (isolate.ended) return;
    const entry: Leaving = {
      isolate,
      holders: new Set(holders),
      isUrgent: false,
      since: Date.now(),
      timer: setTimeout(() => this.#stop(entry), MAX_DRAIN_MS).unref(),
    };
    this.#leaving.set(isolate.ref.id, entry);
    isolate.once('exit', () => {
      clearTimeout(entry.timer);
      this.#leaving.delete(isolate.ref.id);
    });
    this.#lingerIfFree(entry);
  }

  /**
   * A process that has to make place: it gets `maxMs` for the requests that it holds, none for waitUntil. Resolves when it has ended.
   */
  async hurry(isolate: Isolate, holders: Iterable<string>, maxMs: number): Promise<void> {
    const { id } = isolate.ref;
    if (!this.#leaving.has(id)) this.add(isolate, holders);
    const gone = isolate.ended ? Promise.resolve() : once(isolate, 'exit');
    const entry = this.#leaving.get(id);
    if (entry) {
      entry.isUrgent = true;
      clearTimeout(entry.timer);
      entry.timer = setTimeout(() => this.#stop(entry), entry.holders.size > 0 ? maxMs : 0).unref();
    }
    await gone;
  }

  released(isolateId: string, holder: string): void {
    const entry = this.#leaving.get(isolateId);
    if (entry?.holders.delete(holder)) this.#lingerIfFree(entry);
  }

  /** A process that sends requests died: it holds nothing any more. */
  holderGone(holder: string): void {
    for (const entry of this.#leaving.values()) if (entry.holders.delete(holder)) this.#lingerIfFree(entry);
  }

  /** Memory is short: stops one process that only lingers for waitUntil and returns it, null if there is none. */
  stopOneLingering(): Isolate | null {
    for (const entry of this.#leaving.values()) {
      if (entry.holders.size > 0) continue;
      this.#stop(entry);
      return entry.isolate;
    }
    return null;
  }

  isolates(): Isolate[] {
    return [...this.#leaving.values()].map(({ isolate }) => isolate);
  }

  #lingerIfFree(entry: Leaving): void {
    if (entry.holders.size > 0) return;
    clearTimeout(entry.timer);
    entry.timer = setTimeout(() => this.#stop(entry), entry.isUrgent ? 0 : WAIT_UNTIL_MS).unref();
  }

  #stop(entry: Leaving): void {
    clearTimeout(entry.timer);
    this.#leaving.delete(entry.isolate.ref.id);
    entry.isolate
      .stop(entry.isUrgent ? URGENT_STOP_MS : STOP_GRACE_MS)
      .catch((error: unknown) => log('warn', 'stopping a process failed', { error: reason(error) }));
  }
}
