/**
 * The watchdog holds each isolate process against its version's limits. CPU: open-source workerd knows no limit and a loop blocks its
 * whole process, so a process that burns CPU is pinged; what it burns while the ping stays unanswered is one turn of its event loop, and
 * those that stood before the ping: of other connections, each within the limit. A turn over `limits.cpuMs` ends it; a request that burns
 * more in many short turns is not seen here. Memory: what the process holds for itself. Both from the kernel's accounting (proc(5)).
 */
import { setPriority } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { log, reason } from '../../model/log.ts';
import type { Isolate } from './isolate.ts';
import { openFiles, RUNTIME_BYTES } from './process-stats.ts';

const TICK_MS = 50;
/** Processes without requests are looked at on every n-th tick only. */
const IDLE_TICKS = 10;
/** CPU burnt since the last ping that makes a process suspect of a turn that does not end, however small its share of a busy machine is. */
const SUSPECT_CPU_MS = 30;
/**
 * CPU beyond the limit while a ping waits: at least what a garbage collection of the whole heap takes, at most this for the turns of other
 * connections. A Worker may open many connections, so it must not grow with them without end.
 */
const MIN_ALLOWANCE_MS = 100;
const MAX_ALLOWANCE_MS = 2_000;
/** Niceness (setpriority(2)) of a process that is stuck: a tenth of a usual one's weight. */
const STUCK_NICE = 10;
const BUSY_AFTER_MS = 100;
/** A ping that is not answered stays open until the limit decides; this bounds it for limits of minutes. */
const PING_TIMEOUT_MS = 600_000;
const MiB = 1024 * 1024;

interface Watch {
  isolate: Isolate;
  /** While a ping is open: when it was sent, and the CPU time then. */
  ping: { sentAt: number; cpuMs: number } | null;
  /** CPU burnt since the last ping was sent, ms. */
  unseenMs: number;
}

export class Watchdog {
  readonly #watched = new Map<Isolate, Watch>();
  readonly #onUsage: (isolate: Isolate, cpuMs: number) => void;
  readonly #abort = new AbortController();

  constructor(onUsage: (isolate: Isolate, cpuMs: number) => void) {
    this.#onUsage = onUsage;
    void this.#run();
  }

  watch(isolate: Isolate): void {
    this.#onUsage(isolate, isolate.cpuMs);
    this.#watched.set(isolate, { isolate, ping: null, unseenMs: 0 });
    isolate.once('exit', () => this.#watched.delete(isolate));
  }

  close(): void {
    this.#abort.abort();
  }

  async #run(): Promise<void> {
    for (let tick = 0; !this.#abort.signal.aborted; tick++) {
      await sleep(TICK_MS, undefined, { signal: this.#abort.signal }).catch(() => undefined);
      for (const watch of this.#watched.values()) {
        if (watch.isolate.active || watch.ping || tick % IDLE_TICKS === 0) this.#look(watch);
      }
    }
  }

  #look(watch: Watch): void {
    const { isolate } = watch;
    const burntMs = isolate.readStats();
    watch.unseenMs += burntMs;
    if (burntMs > 0) this.#onUsage(isolate, burntMs);
    if (isolate.memoryBytes > isolate.version.limits.memoryMb * MiB + RUNTIME_BYTES) {
      isolate.kill('exceededMemory');
      return;
    }
    if (watch.ping) {
      if (!isolate.busy && Date.now() - watch.ping.sentAt > BUSY_AFTER_MS) {
        isolate.busy = true;
        setNice(isolate, STUCK_NICE);
      }
      if (isExceeded(isolate, isolate.cpuMs - watch.ping.cpuMs)) isolate.kill('exceededCpu');
    } else if (watch.unseenMs >= SUSPECT_CPU_MS) this.#ping(watch);
  }

  #ping(watch: Watch): void {
    watch.unseenMs = 0;
    watch.ping = { sentAt: Date.now(), cpuMs: watch.isolate.cpuMs };
    this.#awaitAnswer(watch);
  }

  /** Looked at closely until it answers. */
  #awaitAnswer(watch: Watch): void {
    const { isolate } = watch;
    const end = () => {
      watch.ping = null;
      if (!isolate.busy) return;
      isolate.busy = false;
      setNice(isolate, 0);
    };
    isolate.ping(PING_TIMEOUT_MS).then(end, (error: NodeJS.ErrnoException) => {
      // As many connections wait as the kernel lets wait (unix(7)): that is no answer, or who has clients enough would escape.
      if (error.code === 'EAGAIN' && !isolate.ended) {
        setTimeout(() => this.#awaitAnswer(watch), TICK_MS).unref();
        return;
      }
      end();
      if (!isolate.ended) log('debug', 'a ping failed', { isolate: isolate.ref.id, error: reason(error) });
    });
  }
}

/**
 * A process that does not answer gets the processor only when others do not want it. Whoever is not root cannot take that back: then it
 * stays behind the others.
 */
function setNice(isolate: Isolate, nice: number): void {
  try {
    setPriority(isolate.pid, nice);
  } catch (error) {
    log('debug', 'the priority of a process stays as it is', { isolate: isolate.ref.id, error: reason(error) });
  }
}

/** Whether the CPU burnt while a ping waited is more than turns within the limit can burn. */
function isExceeded(isolate: Isolate, burntMs: number): boolean {
  const { cpuMs } = isolate.version.limits;
  if (burntMs <= cpuMs + MIN_ALLOWANCE_MS) return false;
  // One of them is the turn's own.
  const others = (openFiles(isolate.pid) ?? 0) - isolate.filesAtStart - 1;
  const allowanceMs = Math.max(MIN_ALLOWANCE_MS, Math.min(MAX_ALLOWANCE_MS, cpuMs * others));
  return burntMs > cpuMs + allowanceMs;
}
