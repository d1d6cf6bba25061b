/**
 * All isolate processes of the PoP: which versions run, how many processes each has, and which go when memory is short.
 * It acts on `Group`s; what a process does inside is `isolates/`. Edges and data process only ever see IsolateSets.
 */
import { availableParallelism } from 'node:os';
import type { Version } from '../model/documents.ts';
import { log, reason } from '../model/log.ts';
import type { IsolateSet, IsolateStatus, Publications, Requests, Verdict } from '../model/messages.ts';
import { hasObjects } from '../products/durable-objects/binding.ts';
import type { Bus } from '../state/bus.ts';
import type { Follower } from './follower.ts';
import { Group } from './group.ts';
import type { Isolate, IsolateHost } from './isolates/host.ts';
import { Load } from './load.ts';
import { Owners } from './owners.ts';
import { Retirement } from './retirement.ts';

const TICK_MS = 250;
/** A process that used more than this share of a core since the last tick is saturated. */
const SATURATED = 0.85;
/** Ticks in a row before a process is added, and before one is taken away. */
const GROW_TICKS = 2;
const SHRINK_TICKS = 120;
/** Requests that a process with Durable Objects holds may take this long when another one is to have the objects. */
const HAND_OVER_MS = 5_000;
const SUPERSEDED_MS = 30_000;
/** How long ended processes are remembered, for edges that ask why a request was dropped. */
const VERDICT_MEMORY_MS = 30_000;
/** Longer than any event runs. */
const MAX_HOLD_MS = 16 * 60_000;

/** A process kept for an event that does not come from an edge, until `release`. */
export interface Hold {
  /** Names it among the holders of processes. */
  name: string;
  isolate: Isolate;
}

export interface FleetOptions {
  host: IsolateHost;
  bus: Bus;
  follower: Follower;
  memoryBudgetBytes: number;
  /** A process ended, for the metrics. */
  onExit: (verdict: Verdict) => void;
  /** Processes that one stateless version may have; the machine's cores by default. */
  maxInstances?: number;
  /** Names of the processes that send requests to isolates now. */
  holders: () => string[];
}

export class Fleet {
  readonly #options: FleetOptions;
  readonly #groups = new Map<string, Group>();
  readonly #retirement = new Retirement();
  readonly #load = new Load();
  readonly #owners = new Owners((isolate) => this.#release(isolate));
  /** Versions with Durable Objects that were deployed until just now -> until when requests for them may still come. */
  readonly #superseded = new Map<string, number>();
  /** Isolate id -> group, for load reports. */
  readonly #byIsolate = new Map<string, Group>();
  readonly #verdicts = new Map<string, { verdict: Verdict; killedAt: number | null; until: number }>();
  readonly #pressure = new Map<string, { cpuMs: number; hot: number; cold: number }>();
  /** "account/script" -> time until which its requests are traced. */
  readonly #tails = new Map<string, number>();
  /** By name. `owner`: the process that runs the event, or 'cron'. */
  readonly #holds = new Map<string, { isolate: string; owner: string; until: number }>();
  #events = 0;
  readonly #timer: NodeJS.Timeout;
  readonly #maxInstances: number;
  #closing = false;

  constructor(options: FleetOptions) {
    this.#options = options;
    this.#maxInstances = options.maxInstances ?? availableParallelism();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    options.bus.subscribe('local.load', (message: Publications['local.load']) => this.#onLoad(message));
    options.bus.subscribe('local.released', ({ isolate, from }: Publications['local.released']) => {
      this.#load.released(isolate, from);
      this.#retirement.released(isolate, from);
    });
  }

  /** A process of the version takes requests when this resolves. Throws what the runtime said when it does not start. */
  async ensure(version: Version): Promise<IsolateSet> {
    if (this.#closing) throw new Error('this machine is shutting down');
    const instead = this.#runsInstead(version);
    // Requests that were on their way to the version before the deployment are answered by the one after it.
    if (instead) return { ...(await this.ensure(instead)), versionId: version.id };
    let group = this.#groups.get(version.id);
    if (!group) {
      group = this.#createGroup(version);
      this.#groups.set(version.id, group);
    }
    try {
      await group.ensure();
    } catch (error) {
      const successor = this.#successor(version);
      if (!successor) throw error;
      // The deploy came while it started.
      return { ...(await this.ensure(successor)), versionId: version.id };
    }
    return group.set();
  }

  /** The version gets no more requests by its deployment; previews start it again when asked for. */
  retire(versionId: string): void {
    const group = this.#groups.get(versionId);
    if (group && hasObjects(group.version) && !group.version.system)
      this.#superseded.set(versionId, Date.now() + SUPERSEDED_MS);
    group?.close();
    this.#groups.delete(versionId);
  }

  /** Ends the process of a version, then does `work` while nobody has its storage. */
  vacate<T>(versionId: string, storage: string, work: () => Promise<T>): Promise<T> {
    this.retire(versionId);
    return this.#owners.vacate(storage, work);
  }

  /**
   * Durable Objects run in the deployed version only. Returns that version if this one was deployed until now, undefined if nothing stands
   * in its place. Throws if it never got traffic (a preview).
   */
  #runsInstead(version: Version): Version | undefined {
    if (!hasObjects(version) || version.system || this.#options.follower.isDeployed(version)) return undefined;
    const successor = this.#successor(version);
    const wasDeployed = this.#groups.has(version.id) || (this.#superseded.get(version.id) ?? 0) > Date.now();
    if (successor && wasDeployed) return successor;
    throw new Error('a version with Durable Objects runs only while it is deployed: there is no preview of it');
  }

  /** The version that is deployed instead of one with Durable Objects. */
  #successor(version: Version): Version | undefined {
    const { follower } = this.#options;
    if (!hasObjects(version) || version.system || follower.isDeployed(version)) return undefined;
    return follower.deployedVersions(follower.script(version.accountId, version.script))[0];
  }

  /** Throws if a deploy has given the objects to another version, or a transfer to another Worker, while this start waited. */
  #mayHaveObjects(version: Version): void {
    if (version.system || this.#options.follower.isDeployed(version)) return;
    throw new Error('the version was replaced before it started');
  }

  /** Runs one cron event on the version. */
  async scheduled(version: Version, cron: string, timeMs: number): Promise<{ outcome: string }> {
    const { name, isolate } = await this.hold(version, 'cron');
    try {
      return await isolate.scheduled(cron, timeMs);
    } finally {
      this.release(name);
    }
  }

  /**
   * Keeps a process of the version for one event, as an edge does for a request: a deploy or a lack of memory lets it finish. Ends with
   * `release`, with the owner's process, or after what the longest event may take. Throws what the runtime said if none starts, and if it
   * starts later than the owner waits for it.
   */
  async hold(version: Version, owner: string, withinMs = Number.POSITIVE_INFINITY): Promise<Hold> {
    const asked = Date.now();
    const { isolates } = await this.ensure(version);
    const live = isolates.flatMap(({ id }) => this.#byIsolate.get(id)?.live.find(({ ref }) => ref.id === id) ?? []);
    const [first, ...others] = live;
    if (!first) throw new Error('the process ended before the event reached it');
    if (Date.now() - asked > withinMs) throw new Error('the process started too late for the event');
    const openOn = ({ ref }: Isolate) => this.#load.open(ref.id);
    const isolate = others.reduce((least, other) => (openOn(other) < openOn(least) ? other : least), first);
    const name = `${owner} event ${this.#events++}`;
    this.#holds.set(name, { isolate: isolate.ref.id, owner, until: Date.now() + MAX_HOLD_MS });
    this.#tellLoad(name, isolate.ref.id, 1);
    return { name, isolate };
  }

  release(name: string): void {
    const hold = this.#holds.get(name);
    if (!hold) return;
    this.#holds.delete(name);
    this.#tellLoad(name, hold.isolate, 0);
    this.#retirement.released(hold.isolate, name);
  }

  /** To everybody: the data process counts the subrequests that events may make. */
  #tellLoad(from: string, isolate: string, open: number): void {
    const load: Publications['local.load'] = { from, isolates: { [isolate]: { open, started: open } } };
    this.#options.bus.publish('local.load', load);
  }

  /** Turns tracing of a script on for `seconds`, or off. Resolves when new requests are traced. */
  async trace(accountId: string, script: string, seconds: number): Promise<void> {
    const name = `${accountId}/${script}`;
    if (seconds > 0) this.#tails.set(name, Date.now() + seconds * 1000);
    else this.#tails.delete(name);
    await this.#applyTails(name);
  }

  /** Why a process ended; waits for the watchdog if it has not decided. */
  async verdict(isolateId: string): Promise<Requests['local.verdict'][1]> {
    const known = this.#verdicts.get(isolateId);
    if (known) return { verdict: known.verdict, killedAt: known.killedAt };
    for (const isolate of this.#options.host.isolates()) {
      if (isolate.ref.id !== isolateId) continue;
      const verdict = await isolate.verdict();
      return { verdict, killedAt: isolate.killedAt };
    }
    return { verdict: 'unknown', killedAt: null };
  }

  holderGone(name: string): void {
    for (const [hold, { owner }] of this.#holds) if (owner === name) this.release(hold);
    this.#retirement.holderGone(name);
    this.#load.reporterGone(name);
  }

  sets(): IsolateSet[] {
    return [...this.#groups.values()].map((group) => group.set());
  }

  status(): IsolateStatus[] {
    const leaving = new Set(this.#retirement.isolates());
    return [...this.#options.host.isolates()].map((isolate) => ({
      id: isolate.ref.id,
      pid: isolate.pid,
      accountId: isolate.version.accountId,
      script: isolate.version.script,
      versionId: isolate.version.id,
      state: leaving.has(isolate) ? ('draining' as const) : ('running' as const),
      cpuMs: isolate.cpuMs,
      memoryBytes: isolate.memoryBytes,
      openRequests: this.#load.open(isolate.ref.id),
      uptimeMs: Date.now() - isolate.startedAt,
    }));
  }

  close(): void {
    this.#closing = true;
    clearInterval(this.#timer);
  }

  #createGroup(version: Version): Group {
    const { host } = this.#options;
    const group = new Group(version, {
      start: (spec) =>
        hasObjects(version)
          ? this.#owners.take(
              version.objects!,
              () => host.start(spec),
              () => this.#mayHaveObjects(version),
            )
          : host.start(spec),
      changed: (set) => {
        for (const isolate of group.live) this.#watch(isolate, group);
        this.#options.bus.publish('local.isolates', set);
      },
      retire: (isolate) => this.#retirement.add(isolate, [...this.#options.holders(), ...this.#eventsOn(isolate)]),
      died: (dead) => this.#replace(dead),
    });
    group.tailed = this.#isTailed(`${version.accountId}/${version.script}`);
    return group;
  }

  /** Takes requests away from a process with Durable Objects and ends it. */
  #release(isolate: Isolate): Promise<void> {
    this.#byIsolate.get(isolate.ref.id)?.leave(isolate);
    const holders = [...this.#options.holders(), ...this.#eventsOn(isolate)];
    return this.#retirement.hurry(isolate, holders, HAND_OVER_MS);
  }

  /** Remembers a new process until some time after its end. */
  #watch(isolate: Isolate, group: Group): void {
    const { id } = isolate.ref;
    if (this.#byIsolate.has(id)) return;
    this.#byIsolate.set(id, group);
    isolate.once('exit', (verdict: Verdict) => {
      this.#options.onExit(verdict);
      this.#verdicts.set(id, { verdict, killedAt: isolate.killedAt, until: Date.now() + VERDICT_MEMORY_MS });
      this.#byIsolate.delete(id);
      this.#pressure.delete(id);
      this.#load.forget(id);
    });
  }

  /** A process died: a version that is deployed is started again at once, others when they are asked for. */
  #replace(group: Group): void {
    if (this.#closing || this.#groups.get(group.version.id) !== group) return;
    if (group.live.length > 0 || !this.#options.follower.isDeployed(group.version)) return;
    group.ensure().catch((error: unknown) => {
      log('warn', 'a Worker does not start again', { version: group.version.id, error: reason(error) });
    });
  }

  #onLoad(message: Publications['local.load']): void {
    const now = Date.now();
    this.#load.report(
      message,
      (isolateId) => this.#byIsolate.has(isolateId),
      (isolateId) => {
        this.#byIsolate.get(isolateId)!.lastUsedMs = now;
      },
    );
  }

  /** Names of the events that run on a process now, as those of holders. */
  #eventsOn(isolate: Isolate): string[] {
    return [...this.#holds].filter(([, hold]) => hold.isolate === isolate.ref.id).map(([name]) => name);
  }

  #tick(): void {
    const now = Date.now();
    for (const [name, { until }] of this.#holds) if (until < now) this.release(name);
    for (const [id, { until }] of this.#verdicts) if (until < now) this.#verdicts.delete(id);
    for (const [name, until] of this.#tails) {
      if (until >= now) continue;
      this.#tails.delete(name);
      this.#applyTails(name).catch((error: unknown) => log('warn', 'tail not ended', { name, error: reason(error) }));
    }
    for (const [id, until] of this.#superseded) if (until < now) this.#superseded.delete(id);
    for (const group of this.#groups.values()) this.#scale(group);
    this.#evict();
  }

  /** More processes while all are saturated or stuck and requests wait; fewer after a calm half minute. */
  #scale(group: Group): void {
    let saturated = 0;
    let coldest = 0;
    for (const isolate of group.live) {
      const open = this.#load.open(isolate.ref.id);
      isolate.active = open > 0;
      const pressure = this.#pressure.get(isolate.ref.id) ?? { cpuMs: isolate.cpuMs, hot: 0, cold: 0 };
      const share = (isolate.cpuMs - pressure.cpuMs) / TICK_MS;
      const hot = open > 1 && (isolate.busy || share > SATURATED);
      pressure.cpuMs = isolate.cpuMs;
      pressure.hot = hot ? pressure.hot + 1 : 0;
      pressure.cold = share < SATURATED / 2 ? pressure.cold + 1 : 0;
      this.#pressure.set(isolate.ref.id, pressure);
      if (pressure.hot >= GROW_TICKS) saturated++;
      coldest = Math.max(coldest, pressure.cold);
    }
    const count = group.live.length;
    const most = hasObjects(group.version) ? 1 : this.#maxInstances;
    if (count > 0 && saturated === count && count < most && !group.isStarting) {
      group.grow().catch((error: unknown) => log('warn', 'no further process', { error: reason(error) }));
    } else if (count > 1 && coldest >= SHRINK_TICKS) {
      const isolate = group.live.findLast((each) => (this.#pressure.get(each.ref.id)?.cold ?? 0) >= SHRINK_TICKS);
      if (isolate) group.shrink(isolate);
    }
  }

  /** Above the memory budget: first what only lingers, then versions that were used longest ago and hold no request. */
  #evict(): void {
    let excess = -this.#options.memoryBudgetBytes;
    for (const isolate of this.#options.host.isolates()) excess += isolate.memoryBytes;
    while (excess > 0) {
      const lingering = this.#retirement.stopOneLingering();
      if (lingering) {
        excess -= lingering.memoryBytes;
        continue;
      }
      const group = this.#leastRecentlyUsed();
      if (!group) return;
      for (const isolate of group.live) excess -= isolate.memoryBytes;
      group.stop();
    }
  }

  #leastRecentlyUsed(): Group | undefined {
    let oldest: Group | undefined;
    for (const group of this.#groups.values()) {
      if (group.live.length === 0 || group.isStarting) continue;
      // Alarms ring in a process that runs.
      if (hasObjects(group.version) && !group.version.system) continue;
      if (group.live.some(({ ref }) => this.#load.open(ref.id) > 0)) continue;
      if (!oldest || group.lastUsedMs < oldest.lastUsedMs) oldest = group;
    }
    return oldest;
  }

  #isTailed(name: string): boolean {
    return (this.#tails.get(name) ?? 0) > Date.now();
  }

  async #applyTails(name: string): Promise<void> {
    const tailed = this.#isTailed(name);
    const groups = [...this.#groups.values()].filter((g) => `${g.version.accountId}/${g.version.script}` === name);
    await Promise.all(groups.map((group) => group.trace(tailed)));
  }
}
