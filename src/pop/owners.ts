/**
 * Who runs the Durable Objects of a Worker: at most one process at a time, because the runtime does not lock their files. A new one starts
 * when the one before has ended; requests wait meanwhile. What a process has are the Worker's storage and the directories of its namespaces:
 * so the next version waits for the one before, and a Worker that got a namespace from another one for that one's.
 */
import type { WorkerObjects } from '../model/documents.ts';
import { placesOf } from '../products/durable-objects/binding.ts';
import type { Isolate } from './isolates/host.ts';

export class Owners {
  /** Storage or directory -> the process that has it. */
  readonly #current = new Map<string, Isolate>();
  /** Storage or directory -> starts and ends in their order. */
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #release: (isolate: Isolate) => Promise<void>;

  /** `release` takes requests away from a process, lets it finish what it holds for a short time, and resolves when it has ended. */
  constructor(release: (isolate: Isolate) => Promise<void>) {
    this.#release = release;
  }

  /** Ends the process that has the storage, then does `work` while nobody has it. Throws what `work` throws. */
  vacate<T>(storage: string, work: () => Promise<T>): Promise<T> {
    return this.#turn([storage], () => undefined, work);
  }

  /**
   * Starts a process that has these objects for itself. Throws what `start` throws: then nobody has them; or what `check` throws when its turn
   * has come: then who had them has them still.
   */
  take(objects: WorkerObjects, start: () => Promise<Isolate>, check: () => void = () => undefined): Promise<Isolate> {
    const keys = [objects.storage, ...placesOf(objects).map(({ storage, id }) => `${storage}/${id}`)];
    return this.#turn(keys, check, async () => {
      const isolate = await start();
      for (const key of keys) this.#current.set(key, isolate);
      isolate.once('exit', () => {
        for (const key of keys) if (this.#current.get(key) === isolate) this.#current.delete(key);
      });
      return isolate;
    });
  }

  /** The turn for all keys is taken at once: two that share some never wait for each other. */
  #turn<T>(keys: string[], check: () => void, work: () => Promise<T>): Promise<T> {
    const before = Promise.all(keys.map((key) => this.#turns.get(key)));
    const turn = before.then(async () => {
      check();
      const owners = new Set(keys.flatMap((key) => this.#current.get(key) ?? []));
      await Promise.all([...owners].filter((owner) => !owner.ended).map((owner) => this.#release(owner)));
      return work();
    });
    const settled = turn.catch(() => undefined);
    for (const key of keys) this.#turns.set(key, settled);
    void settled.then(() => {
      for (const key of keys) if (this.#turns.get(key) === settled) this.#turns.delete(key);
    });
    return turn;
  }
}
