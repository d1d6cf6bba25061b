/**
 * Applies ledger changes to the running PoP: the middle of a deploy's way. New versions take requests first, then edges are told
 * of the deployment, then old versions are retired, so that no request finds a gap.
 */
import type { Script, Version } from '../model/documents.ts';
import { toEdgeChange } from '../model/edge-docs.ts';
import { keys } from '../model/keys.ts';
import { log, reason } from '../model/log.ts';
import type { EdgeChange } from '../model/messages.ts';
import type { Change, Ledger } from '../state/ledger.ts';
import type { Fleet } from './fleet.ts';
import type { Follower } from './follower.ts';
import type { Scheduler } from './scheduler.ts';

/** Changes of scripts whose end can be waited for by their sequence. */
const REMEMBERED = 1000;

/** Applies ledger changes in order; those of one script wait for its new version to take requests, others do not wait for it. */
export class Applier {
  readonly #follower: Follower;
  readonly #fleet: Fleet;
  readonly #scheduler: Scheduler;
  readonly #tell: (changes: EdgeChange[]) => void;
  /** Script key -> its changes that are being applied. */
  readonly #chains = new Map<string, Promise<void>>();
  /** Sequence of a script's change -> its end; the latest ones. */
  readonly #bySequence = new Map<number, Promise<void>>();
  #waiters: { sequence: number; resolve: () => void }[] = [];

  constructor(follower: Follower, fleet: Fleet, scheduler: Scheduler, tell: (changes: EdgeChange[]) => void) {
    this.#follower = follower;
    this.#fleet = fleet;
    this.#scheduler = scheduler;
    this.#tell = tell;
  }

  /** Reads the whole ledger into memory, before anybody is told. */
  async load(ledger: Ledger): Promise<void> {
    const sequence = await ledger.sequence();
    for (const prefix of [
      keys.accounts,
      keys.zones,
      keys.routes(),
      keys.domains,
      keys.origins,
      keys.scripts(),
      keys.versions(),
    ]) {
      for (const { key, value, revision } of await ledger.list(prefix)) {
        const told = this.#follower.apply({ key, value, sequence: revision });
        if (told) this.#follower.told(told);
      }
    }
    this.#follower.sequence = sequence;
  }

  /** Starts every deployed version and arms every schedule; a few at a time, most of them before anybody asks. */
  async warm(concurrency: number): Promise<void> {
    const versions: Version[] = [];
    for (const [key, script] of this.#follower.scripts) {
      this.#scheduler.update(key, script);
      versions.push(...this.#follower.deployedVersions(script));
    }
    const next = versions.values();
    await Promise.all(
      Array.from({ length: concurrency }, async () => {
        // Not one that a deploy has replaced meanwhile.
        for (const version of next) if (this.#follower.isDeployed(version)) await this.#start(version);
      }),
    );
  }

  apply(changes: Change[]): void {
    for (const change of changes) {
      const before = this.#follower.scripts.get(change.key);
      const told = this.#follower.apply(change);
      if (told && change.key.startsWith(keys.scripts())) this.#applyScript(change.key, before, change.sequence);
      else if (told) {
        this.#tellOne(told);
        if (told.doc === null && change.key.startsWith(keys.versions())) {
          this.#fleet.retire(change.key.slice(change.key.lastIndexOf('/') + 1));
        }
      }
    }
    const ready = this.#waiters.filter(({ sequence }) => sequence <= this.#follower.sequence);
    this.#waiters = this.#waiters.filter((waiter) => !ready.includes(waiter));
    for (const { resolve } of ready) resolve();
  }

  /**
   * Resolves when everything up to `sequence` is applied, new versions included; if that is a script's own change, without waiting for other
   * scripts: a tenant whose versions take long to start keeps nobody else's deploy.
   */
  async applied(sequence: number): Promise<void> {
    if (sequence > this.#follower.sequence) {
      await new Promise<void>((resolve) => this.#waiters.push({ sequence, resolve }));
    }
    await (this.#bySequence.get(sequence) ?? Promise.all(this.#chains.values()));
  }

  #applyScript(key: string, before: Script | undefined, sequence: number): void {
    const chain = (this.#chains.get(key) ?? Promise.resolve())
      .then(() => this.#switchOver(key, before))
      // The next change of the script is applied all the same, and the others' are not held up.
      .catch((error: unknown) => log('error', 'a change was not applied', { key, error: reason(error) }));
    this.#chains.set(key, chain);
    this.#bySequence.set(sequence, chain);
    for (const oldest of this.#bySequence.keys()) {
      if (this.#bySequence.size <= REMEMBERED) break;
      this.#bySequence.delete(oldest);
    }
    void chain.finally(() => {
      if (this.#chains.get(key) === chain) this.#chains.delete(key);
    });
  }

  /** New versions take requests, then the edges are told, then the old ones go. */
  async #switchOver(key: string, before: Script | undefined): Promise<void> {
    const script = this.#follower.scripts.get(key);
    const wanted = this.#follower.deployedVersions(script);
    await Promise.all(wanted.map((version) => this.#start(version)));
    const told = toEdgeChange(key, script ?? null);
    if (told) this.#tellOne(told);
    this.#scheduler.update(key, script ?? null);
    const kept = new Set(wanted.map((version) => version.id));
    for (const { versionId } of before?.deployment?.versions ?? []) {
      if (!kept.has(versionId)) this.#fleet.retire(versionId);
    }
  }

  async #start(version: Version): Promise<void> {
    try {
      await this.#fleet.ensure(version);
    } catch (error) {
      // The edge tries again with the first request and shows the visitor an error page if it still fails.
      log('warn', 'a Worker does not start', { script: version.script, version: version.id, error: reason(error) });
    }
  }

  #tellOne(change: EdgeChange): void {
    this.#follower.told(change);
    this.#tell([change]);
  }
}
