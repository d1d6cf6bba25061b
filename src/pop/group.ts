/**
 * The processes of one Worker version: starting the first, adding more under load, replacing those that die, rolling all to
 * another specification. What happens to a process after it left its group is `retirement.ts`.
 */
import type { Version } from '../model/documents.ts';
import type { IsolateSet } from '../model/messages.ts';
import type { Isolate, IsolateSpec } from './isolates/host.ts';

/** After this many deaths and failed starts within the window a version pauses before it is started again. */
const CRASH_WINDOW_MS = 10_000;
const CRASHES_WITHOUT_PAUSE = 10;
const CRASH_PAUSE_MS = 1_000;
const REPLACED = 'the version was replaced while it started';

export interface GroupEvents {
  /** Starts a process. Throws what the runtime said. */
  start(spec: IsolateSpec): Promise<Isolate>;
  /** The processes that take requests changed: tell the edges. */
  changed(set: IsolateSet): void;
  /** A process takes no more requests and can go when its last one is done. */
  retire(isolate: Isolate): void;
  /** A process ended by itself or by the watchdog. `replace`: start another. */
  died(group: Group): void;
}

export class Group {
  readonly version: Version;
  readonly live: Isolate[] = [];
  lastUsedMs = Date.now();
  tailed = false;
  readonly #events: GroupEvents;
  #starting: Promise<void> | null = null;
  #crashes: number[] = [];
  #closed = false;

  constructor(version: Version, events: GroupEvents) {
    this.version = version;
    this.#events = events;
  }

  set(): IsolateSet {
    return { versionId: this.version.id, isolates: this.live.map((isolate) => isolate.ref), tailed: this.tailed };
  }

  get isStarting(): boolean {
    return this.#starting !== null;
  }

  /** At least one process takes requests when this resolves. Throws what the runtime said. */
  async ensure(): Promise<void> {
    if (this.live.length > 0) return;
    this.#starting ??= this.#startFirst().finally(() => {
      this.#starting = null;
    });
    await this.#starting;
  }

  /** One process more. */
  async grow(): Promise<void> {
    if (this.#starting) return;
    this.#starting = this.#startOne().finally(() => {
      this.#starting = null;
    });
    await this.#starting;
  }

  /** One process less; the least busy goes when its requests are done. */
  shrink(isolate: Isolate): void {
    this.#remove(isolate);
    this.#events.changed(this.set());
    this.#events.retire(isolate);
  }

  /** The process takes no more requests, and somebody else sees to its end. */
  leave(isolate: Isolate): void {
    if (this.#remove(isolate)) this.#events.changed(this.set());
  }

  /** For good: also a process that is just starting goes. */
  close(): void {
    this.#closed = true;
    this.stop();
  }

  /** No process takes requests any more, until `ensure` is called again. */
  stop(): void {
    const leaving = this.live.splice(0);
    if (leaving.length === 0) return;
    this.#events.changed(this.set());
    for (const isolate of leaving) this.#events.retire(isolate);
  }

  /**
   * Replaces all processes by one that is traced (or no longer is) without a gap. Resolves when that is so, or the group is closed. Throws
   * what the runtime said; then the processes are as before, and the next call tries again.
   */
  async trace(tailed: boolean): Promise<void> {
    this.tailed = tailed;
    // Starts are one after the other: one that began before `tailed` changed, and those of other calls.
    while (!this.#closed && this.#starting) await this.#starting.catch(() => undefined);
    if (this.#closed || this.tailed !== tailed) return;
    const old = this.live.filter((isolate) => isolate.tailed !== tailed);
    if (old.length === 0) return;
    await this.grow().catch((error: unknown) => {
      if (!this.#closed) throw error;
    });
    // The version may have another group by now: what this one told the edges would count for that.
    if (this.#closed) return;
    // Meanwhile they may have died or been stopped.
    const leaving = old.filter((isolate) => this.#remove(isolate));
    this.#events.changed(this.set());
    for (const isolate of leaving) this.#events.retire(isolate);
  }

  async #startFirst(): Promise<void> {
    const now = Date.now();
    this.#crashes = this.#crashes.filter((time) => now - time < CRASH_WINDOW_MS);
    if (this.#crashes.length > CRASHES_WITHOUT_PAUSE) {
      await new Promise((resolve) => setTimeout(resolve, CRASH_PAUSE_MS));
      if (this.#closed) throw new Error(REPLACED);
    }
    try {
      await this.#startOne();
    } catch (error) {
      // Every request asks for a start: what does not start would be started without end.
      this.#crashes.push(Date.now());
      throw error;
    }
  }

  async #startOne(): Promise<void> {
    const entrypoints = this.version.entrypoints.filter(({ kind }) => kind === 'worker' || kind === 'object');
    const isolate = await this.#events.start({
      version: this.version,
      tailed: this.tailed,
      entrypoints: entrypoints.map(({ name }) => name),
    });
    if (this.#closed) {
      // Nobody knows of it, so nobody would release it.
      isolate.kill('drained');
      throw new Error(REPLACED);
    }
    this.live.push(isolate);
    this.lastUsedMs = Date.now();
    const lost = () => {
      if (!this.#remove(isolate)) return;
      this.#crashes.push(Date.now());
      this.#events.changed(this.set());
      this.#events.died(this);
    };
    // A process that is killed takes connections until the kernel is done with it: the edges must know before.
    isolate.once('killed', lost).once('exit', lost);
    this.#events.changed(this.set());
  }

  #remove(isolate: Isolate): boolean {
    const index = this.live.indexOf(isolate);
    if (index < 0) return false;
    this.live.splice(index, 1);
    return true;
  }
}
