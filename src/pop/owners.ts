/**
 * Who runs the Durable Objects of a Worker: at most one process at a time, because the runtime does not lock their files. A new one starts
 * when the one before has ended; requests wait meanwhile.
 */
import type { Isolate } from './isolates/host.ts';

export class Owners {
  /** Storage -> the process that has it. */
  readonly #current = new Map<string, Isolate>();
  /** Storage -> starts and ends in their order. */
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #release: (isolate: Isolate) => Promise<void>;

  /** `release` takes requests away from a process, lets it finish what it holds for a short time, and resolves when it has ended. */
  constructor(release: (isolate: Isolate) => Promise<void>) {
    this.#release = release;
  }

  /** Ends the process that has the storage, then does `work` while nobody has it. Throws what `work` throws. */
  vacate<T>(storage: string, work: () => Promise<T>): Promise<T> {
    return this.#turn(storage, work);
  }

  /** Starts a process that has the storage for itself. Throws what `start` throws: then nobody has it. */
  take(storage: string, start: () => Promise<Isolate>): Promise<Isolate> {
    return this.#turn(storage, async () => {
      const isolate = await start();
      this.#current.set(storage, isolate);
      isolate.once('exit', () => {
        if (this.#current.get(storage) === isolate) this.#current.delete(storage);
      });
      return isolate;
    });
  }

  #turn<T>(storage: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(storage) ?? Promise.resolve();
    const turn = before.then(async () => {
      const owner = this.#current.get(storage);
      if (owner && !owner.ended) await this.#release(owner);
      return work();
    });
    const settled = turn.catch(() => undefined);
    this.#turns.set(storage, settled);
    void settled.then(() => {
      if (this.#turns.get(storage) === settled) this.#turns.delete(storage);
    });
    return turn;
  }
}
