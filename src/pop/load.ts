/** How busy each isolate process is, from the reports of edges and data process (`local.load`). */
import type { Publications } from '../model/messages.ts';

export class Load {
  /** Isolate id -> name of the reporting process -> requests open there. */
  readonly #open = new Map<string, Map<string, number>>();

  /**
   * Takes a report; calls `used` for each isolate that got or holds a request. `isKnown`: a report may come when its isolate has ended and
   * is forgotten.
   */
  report(
    message: Publications['local.load'],
    isKnown: (isolateId: string) => boolean,
    used: (isolateId: string) => void,
  ): void {
    for (const [isolateId, { open, started }] of Object.entries(message.isolates)) {
      if (!isKnown(isolateId)) continue;
      const byProcess = this.#open.get(isolateId) ?? new Map<string, number>();
      if (open === 0) byProcess.delete(message.from);
      else byProcess.set(message.from, open);
      // What is reported after an isolate's end is about none: nothing may stay of it.
      if (byProcess.size === 0) this.#open.delete(isolateId);
      else this.#open.set(isolateId, byProcess);
      if (open > 0 || started > 0) used(isolateId);
    }
  }

  /** Requests open on a process, over all reporters. */
  open(isolateId: string): number {
    let sum = 0;
    for (const count of this.#open.get(isolateId)?.values() ?? []) sum += count;
    return sum;
  }

  /** How many isolates are remembered. */
  get size(): number {
    return this.#open.size;
  }

  /** The reporter has let go of the isolate: it does not report of it any more. */
  released(isolateId: string, name: string): void {
    this.#open.get(isolateId)?.delete(name);
  }

  /** The isolate ended. */
  forget(isolateId: string): void {
    this.#open.delete(isolateId);
  }

  /** A reporter died, and its requests with it. */
  reporterGone(name: string): void {
    for (const [isolateId, byProcess] of this.#open) {
      byProcess.delete(name);
      if (byProcess.size === 0) this.#open.delete(isolateId);
    }
  }
}
