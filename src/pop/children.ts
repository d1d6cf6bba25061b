/**
 * The Node processes of a PoP: core, data and the edges. Each is forked from its entry file, joined to the bus, and replaced
 * when it dies, at once the first time and with growing pauses if it keeps dying.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { log } from '../model/log.ts';
import type { Settings } from '../model/settings.ts';
import type { createHub } from '../state/local-bus.ts';

/** A process that lives this long is healthy again: its next death is answered at once. */
const HEALTHY_MS = 10_000;
const MAX_PAUSE_MS = 5_000;
/** Time a process gets to say that it is ready. */
const READY_MS = 20_000;

export interface Child {
  readonly name: string;
  readonly pid: number;
  readonly restarts: number;
}

export interface ChildEvents {
  /** The process takes work; also after each restart. */
  onReady(name: string, restarted: boolean): void | Promise<void>;
  onExit(name: string, pid: number): void;
}

interface Slot {
  name: string;
  entry: URL;
  process: ChildProcess | null;
  restarts: number;
  failures: number;
  startedAt: number;
  ready: boolean;
  exited: Promise<void>;
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

  /** Forks `entry` (a module beside `src/`) under `name` and resolves when it is ready. Throws if it dies first or is silent. */
  async start(name: string, entry: string): Promise<void> {
    const slot: Slot = {
      name,
      entry: new URL(`../${entry}`, import.meta.url),
      process: null,
      restarts: 0,
      failures: 0,
      startedAt: 0,
      ready: false,
      exited: Promise.resolve(),
    };
    this.#slots.set(name, slot);
    this.#fork(slot);
    const deadline = Date.now() + READY_MS;
    while (!slot.ready) {
      if (slot.restarts > 2) throw new Error(`the ${name} process does not start; its messages are above`);
      if (Date.now() > deadline) throw new Error(`the ${name} process was not ready within ${READY_MS / 1000} s`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  names(): string[] {
    return [...this.#slots.values()].filter((slot) => slot.ready).map((slot) => slot.name);
  }

  list(): Child[] {
    return [...this.#slots.values()].map(({ name, process, restarts }) => ({ name, pid: process?.pid ?? 0, restarts }));
  }

  /** SIGTERM to the named processes; resolves when they are gone, killing what is left after `graceMs`. */
  async stop(names: string[], graceMs: number): Promise<void> {
    this.#closing = true;
    const slots = names.map((name) => this.#slots.get(name)).filter((slot): slot is Slot => slot !== undefined);
    for (const slot of slots) slot.process?.kill('SIGTERM');
    const timer = setTimeout(() => {
      for (const slot of slots) slot.process?.kill('SIGKILL');
    }, graceMs);
    await Promise.all(slots.map((slot) => slot.exited));
    clearTimeout(timer);
  }

  #fork(slot: Slot): void {
    slot.startedAt = Date.now();
    slot.ready = false;
    const child = fork(fileURLToPath(slot.entry), [], {
      env: { ...process.env, SELVEDGE_SETTINGS: JSON.stringify(this.#settings), SELVEDGE_PROCESS: slot.name },
      execArgv: ['--disable-warning=ExperimentalWarning'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      serialization: 'json',
      // Out of the terminal's process group: on Ctrl-C the supervisor alone decides who stops when.
      detached: true,
    });
    slot.process = child;
    this.#hub.attach(child);
    slot.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        resolve();
        this.#onExit(slot, child, code, signal);
      });
    });
  }

  #onReady(pid: number): void {
    const slot = [...this.#slots.values()].find((candidate) => candidate.process?.pid === pid);
    if (!slot || slot.ready) return;
    slot.ready = true;
    void this.#events.onReady(slot.name, slot.restarts > 0);
  }

  #onExit(slot: Slot, child: ChildProcess, code: number | null, signal: string | null): void {
    slot.ready = false;
    slot.process = null;
    this.#events.onExit(slot.name, child.pid ?? 0);
    if (this.#closing) return;
    slot.restarts++;
    slot.failures = Date.now() - slot.startedAt > HEALTHY_MS ? 0 : slot.failures + 1;
    const pauseMs = slot.failures <= 1 ? 0 : Math.min(MAX_PAUSE_MS, 50 * 2 ** slot.failures);
    log('error', `the ${slot.name} process ended; starting another`, { code, signal, pauseMs });
    setTimeout(() => {
      if (!this.#closing) this.#fork(slot);
    }, pauseMs);
  }
}
