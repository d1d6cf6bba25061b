/**
 * The isolate processes of each version as this edge process sees them: which take requests, how many it has open on each. Tells the
 * supervisor its load, and when it has let go of a process that was replaced.
 */
import type { IsolateRef, IsolateSet, Publications, Requests } from '../model/messages.ts';
import type { Bus } from '../state/bus.ts';
import { IsolateClient } from './isolate-client.ts';

const REPORT_MS = 200;
/** A start may have to compile and to evaluate a large script. */
const WAKE_TIMEOUT_MS = 15_000;

export class Instance {
  readonly ref: IsolateRef;
  readonly client: IsolateClient;
  open = 0;
  started = 0;
  removed = false;
  /** Load as last reported. */
  reported = 0;

  constructor(ref: IsolateRef) {
    this.ref = ref;
    this.client = new IsolateClient(ref.main);
  }
}

export class Instances {
  readonly #bus: Bus;
  readonly #name: string;
  readonly #byVersion = new Map<string, Instance[]>();
  readonly #all = new Map<string, Instance>();
  readonly #tailed = new Set<string>();
  readonly #waking = new Map<string, Promise<void>>();
  readonly #timer: NodeJS.Timeout;

  /** `name` is this process's name among those that the supervisor waits for. */
  constructor(bus: Bus, name: string) {
    this.#bus = bus;
    this.#name = name;
    this.#timer = setInterval(() => this.#report(), REPORT_MS);
    bus.subscribe('local.load-wanted', () => this.#report());
  }

  /** Takes the processes of a version as they are now. */
  update({ versionId, isolates, tailed }: IsolateSet): void {
    const before = this.#byVersion.get(versionId) ?? [];
    const now = isolates.map((ref) => this.#all.get(ref.id) ?? this.#add(ref));
    // One that was dropped for a failed connection and is named again takes requests again.
    for (const instance of now) instance.removed = false;
    if (now.length > 0) this.#byVersion.set(versionId, now);
    else this.#byVersion.delete(versionId);
    if (tailed) this.#tailed.add(versionId);
    else this.#tailed.delete(versionId);
    for (const instance of before) if (!now.includes(instance)) this.#retire(instance);
  }

  isTailed(versionId: string): boolean {
    return this.#tailed.has(versionId);
  }

  /** The process with the fewest open requests of ours; undefined if none runs. */
  pick(versionId: string): Instance | undefined {
    const list = this.#byVersion.get(versionId);
    if (!list) return undefined;
    let best = list[0];
    for (let i = 1; i < list.length; i++) if (list[i]!.open < best!.open) best = list[i];
    return best;
  }

  /** Has the supervisor start the version. Throws what the runtime said. Many requests wait for one start. */
  wake(versionId: string): Promise<void> {
    let waking = this.#waking.get(versionId);
    if (!waking) {
      waking = this.#bus
        .request('local.wake', { versionId }, { timeoutMs: WAKE_TIMEOUT_MS })
        .then((set: Requests['local.wake'][1]) => this.update(set))
        .finally(() => this.#waking.delete(versionId));
      this.#waking.set(versionId, waking);
    }
    return waking;
  }

  /** No connection could be made: not picked again unless the supervisor names it anew. */
  drop(versionId: string, instance: Instance): void {
    const list = this.#byVersion.get(versionId)?.filter((other) => other !== instance) ?? [];
    if (list.length > 0) this.#byVersion.set(versionId, list);
    else this.#byVersion.delete(versionId);
    this.#retire(instance);
  }

  begin(instance: Instance): void {
    instance.open++;
    instance.started++;
  }

  end(instance: Instance): void {
    instance.open--;
    if (instance.removed && instance.open === 0) this.#release(instance);
  }

  /** Requests open on all processes. */
  get open(): number {
    let sum = 0;
    for (const { open } of this.#all.values()) sum += open;
    return sum;
  }

  close(): void {
    clearInterval(this.#timer);
    for (const { client } of this.#all.values()) client.close();
  }

  #add(ref: IsolateRef): Instance {
    const instance = new Instance(ref);
    this.#all.set(ref.id, instance);
    return instance;
  }

  #retire(instance: Instance): void {
    instance.removed = true;
    if (instance.open === 0) this.#release(instance);
  }

  #release(instance: Instance): void {
    if (!this.#all.delete(instance.ref.id)) return;
    instance.client.close();
    const message: Publications['local.released'] = { from: this.#name, isolate: instance.ref.id };
    this.#bus.publish('local.released', message);
  }

  #report(): void {
    let isolates: Publications['local.load']['isolates'] | null = null;
    for (const instance of this.#all.values()) {
      if (instance.started === 0 && instance.open === instance.reported) continue;
      isolates ??= {};
      isolates[instance.ref.id] = { open: instance.open, started: instance.started };
      instance.started = 0;
      instance.reported = instance.open;
    }
    if (isolates) this.#bus.publish('local.load', { from: this.#name, isolates });
  }
}
