/**
 * The Node processes of a PoP: core, data and the edges. Each is forked from its entry file, joined to the bus, and replaced
 * when it dies, at once the first time and with growing pauses if it keeps dying.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { layout } from '../model/layout.ts';
import { log, reason } from '../model/log.ts';
import type { Settings } from '../model/settings.ts';
import type { createHub } from '../state/local-bus.ts';

/** A process that lives this long is healthy again: its next death is answered at once. */
const HEALTHY_MS = 10_000;
const MAX_PAUSE_MS = 5_000;
/** Name lookups and file reads each take a thread; libuv's default of four would let two accounts' slow name servers take all. */
const THREADS = { UV_THREADPOOL_SIZE: '16' };
/** Time a process gets to say that it is ready; one that replaces a dead one is killed after it and replaced in turn. */
const READY_MS = 20_000;

export interface Child {
  readonly name: string;
  readonly pid: number;
  readonly restarts: number;
  readonly ready: boolean;
}

export interface ChildEvents {
  /** The process takes work; also after each restart. */
  onReady(name: string, restarted: boolean): void | Promise<void>;
  onExit(name: string, pid: number): void;
}

interface Slot {
  name: string;
  /** Module below `src/`. */
  entry: string;
  /** What it was started with: what comes in its place gets the same. */
  settings: Settings;
  process: ChildProcess | null;
  restarts: number;
  failures: number;
  startedAt: number;
  ready: boolean;
  /** Its end is wanted: it is not replaced. */
  leaving: boolean;
  exited: Promise<void>;
  /** Descriptors that it inherits from number 4 on. */
  fds: number[];
}

export class Children {
  readonly #settings: Settings;
  readonly #hub: ReturnType<typeof createHub>;
  readonly #events: ChildEvents;
  readonly #slots = new Map<string, Slot>();
  #closing = false;

  constructor(settings: Settings, hub: ReturnType<typeof createHub>, events: ChildEvents) {
    this.#settings = settings;
    this.#hub = hub;
    this.#events = events;
    hub.subscribe('local.ready', (message: { name: string; pid: number }) => this.#onReady(message.pid));
  }

  /**
   * Forks `entry` (a module below `src/`) under `name`, with these descriptors, and resolves when it is ready. Throws if it dies first, is
   * silent or is stopped.
   */
  async start(name: string, entry: string, fds: number[] = [], settings = this.#settings): Promise<void> {
    if (this.#closing) throw new Error('this machine is shutting down');
    const slot: Slot = {
      name,
      entry,
      settings,
      process: null,
      restarts: 0,
      failures: 0,
      startedAt: 0,
      ready: false,
      leaving: false,
      exited: Promise.resolve(),
      fds,
    };
    this.#slots.set(name, slot);
    this.#fork(slot);
    const deadline = Date.now() + READY_MS;
    while (!slot.ready) {
      if (slot.leaving) throw new Error('this machine is shutting down');
      if (slot.restarts > 2) throw new Error(`the ${name} process does not start; its messages are above`);
      if (Date.now() > deadline) throw new Error(`the ${name} process was not ready within ${READY_MS / 1000} s`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /**
   * Another process takes the place and the descriptors of `name`, under the name `successor` and with these settings; when it is ready
   * the old one is asked to end, and killed after `graceMs`. Resolves when it is gone. If the successor does not start, the old one stays
   * and this throws.
   */
  async replace(name: string, successor: string, graceMs: number, settings: Settings): Promise<void> {
    const old = this.#slots.get(name);
    if (!old) throw new Error(`there is no process ${name}`);
    try {
      await this.start(successor, old.entry, old.fds, settings);
    } catch (error) {
      await this.#end([successor], graceMs);
      throw error;
    }
    await this.#end([name], graceMs);
  }

  names(): string[] {
    return [...this.#slots.values()].filter((slot) => slot.ready).map((slot) => slot.name);
  }

  list(): Child[] {
    return [...this.#slots.values()].map(({ name, process, restarts, ready }) => ({
      name,
      pid: process?.pid ?? 0,
      restarts,
      ready,
    }));
  }

  /** SIGTERM to the named processes; resolves when they are gone, killing what is left after `graceMs`. */
  async stop(names: string[], graceMs: number): Promise<void> {
    this.#closing = true;
    await this.#end(names, graceMs);
  }

  async #end(names: string[], graceMs: number): Promise<void> {
    const slots = names.map((name) => this.#slots.get(name)).filter((slot): slot is Slot => slot !== undefined);
    for (const slot of slots) {
      slot.leaving = true;
      slot.process?.kill('SIGTERM');
    }
    const timer = setTimeout(() => {
      for (const slot of slots) slot.process?.kill('SIGKILL');
    }, graceMs);
    await Promise.all(slots.map((slot) => slot.exited));
    clearTimeout(timer);
    for (const slot of slots) this.#slots.delete(slot.name);
  }

  #fork(slot: Slot): void {
    slot.startedAt = Date.now();
    slot.ready = false;
    let child: ChildProcess;
    try {
      child = fork(fileURLToPath(new URL(`../${slot.entry}`, import.meta.url)), [], {
        env: {
          ...THREADS,
          // Types are taken out of the modules, and they are compiled, once for all starts: that halves the start and saves 40 to 80 MB.
          NODE_COMPILE_CACHE: layout(slot.settings.dataDir).nodeCache,
          ...process.env,
          SELVEDGE_SETTINGS: JSON.stringify(slot.settings),
          SELVEDGE_PROCESS: slot.name,
        },
        execArgv: ['--disable-warning=ExperimentalWarning'],
        stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...slot.fds],
        serialization: 'json',
        // Out of the terminal's process group: on Ctrl-C the supervisor alone decides who stops when.
        detached: true,
      });
    } catch (error) {
      this.#again(slot, { error: reason(error) });
      return;
    }
    if (child.pid === undefined) {
      // The kernel has no process, memory or descriptor to give now (fork(2): EAGAIN, ENOMEM; EMFILE). There will be no 'exit'.
      child.once('error', (error) => this.#again(slot, { error: error.message }));
      return;
    }
    child.on('error', (error) => log('warn', `the ${slot.name} process`, { error: error.message }));
    slot.process = child;
    this.#hub.attach(child);
    const silent = setTimeout(() => {
      if (slot.process === child && !slot.ready) child.kill('SIGKILL');
    }, READY_MS).unref();
    slot.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        clearTimeout(silent);
        resolve();
        slot.ready = false;
        slot.process = null;
        this.#events.onExit(slot.name, child.pid!);
        this.#again(slot, { code, signal });
      });
    });
  }

  #onReady(pid: number): void {
    const slot = [...this.#slots.values()].find((candidate) => candidate.process?.pid === pid);
    if (!slot || slot.ready) return;
    slot.ready = true;
    void this.#events.onReady(slot.name, slot.restarts > 0);
  }

  /** There is no process in this slot: another is forked, after a pause if the one before did not live long. */
  #again(slot: Slot, why: Record<string, unknown>): void {
    if (this.#closing || slot.leaving) return;
    slot.restarts++;
    slot.failures = Date.now() - slot.startedAt > HEALTHY_MS ? 0 : slot.failures + 1;
    const pauseMs = slot.failures <= 1 ? 0 : Math.min(MAX_PAUSE_MS, 50 * 2 ** slot.failures);
    log('error', `the ${slot.name} process ended; starting another`, { ...why, pauseMs });
    setTimeout(() => {
      if (!this.#closing && !slot.leaving) this.#fork(slot);
    }, pauseMs);
  }
}
