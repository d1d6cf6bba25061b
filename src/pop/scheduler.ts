/**
 * Cron triggers: one timer for the next minute that any schedule names. Missed minutes (the machine was down or asleep) are not
 * replayed. Source of the semantics: https://developers.cloudflare.com/workers/configuration/cron-triggers/
 */
import { dueBetween, nextRun } from '../model/cron.ts';
import type { Script } from '../model/documents.ts';
import { log, reason } from '../model/log.ts';
import type { MissedEvents } from '../model/messages.ts';

/** setTimeout's longest delay; a later schedule is looked at again then. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/** Missed events of one trigger are counted so far. */
const MAX_MISSED = 10_000;

/** Runs one event of a script; the supervisor chooses the version. */
export type Run = (script: Script, cron: string, timeMs: number) => Promise<unknown>;

export class Scheduler {
  readonly #run: Run;
  readonly #timers = new Map<string, NodeJS.Timeout[]>();

  constructor(run: Run) {
    this.#run = run;
  }

  /** Takes the schedules of a script as they are now; `script: null` when it is gone. */
  update(key: string, script: Script | null): void {
    for (const timer of this.#timers.get(key) ?? []) clearTimeout(timer);
    this.#timers.delete(key);
    if (!script?.deployment || script.schedules.length === 0) return;
    const timers: NodeJS.Timeout[] = [];
    this.#timers.set(key, timers);
    script.schedules.forEach(({ cron }, index) => {
      this.#arm(timers, index, script, cron, new Date());
    });
  }

  /** Events of these scripts that came due while the machine was down. They are told of, not replayed. */
  missed(scripts: Iterable<Script>, from: Date, to: Date): MissedEvents[] {
    const found: MissedEvents[] = [];
    for (const { accountId, name, schedules, deployment } of scripts) {
      if (!deployment) continue;
      for (const { cron } of schedules) {
        try {
          const { count, last } = dueBetween(cron, from, to, MAX_MISSED);
          if (last) found.push({ accountId, script: name, cron, count, lastOn: last.toISOString() });
        } catch (error) {
          log('error', 'a cron trigger is not understood', { script: name, cron, error: reason(error) });
        }
      }
    }
    return found;
  }

  close(): void {
    for (const timers of this.#timers.values()) for (const timer of timers) clearTimeout(timer);
    this.#timers.clear();
  }

  #arm(timers: NodeJS.Timeout[], index: number, script: Script, cron: string, after: Date): void {
    const due = this.#due(script, cron, after);
    if (!due) return;
    const delayMs = due.getTime() - Date.now();
    timers[index] = setTimeout(
      () => {
        if (delayMs > MAX_DELAY_MS) return this.#arm(timers, index, script, cron, new Date());
        this.#run(script, cron, due.getTime()).catch((error: unknown) => {
          log('warn', 'a cron trigger failed', { script: script.name, cron, error: reason(error) });
        });
        // A timer may fire a hair early: never the same minute twice.
        this.#arm(timers, index, script, cron, new Date(Math.max(Date.now(), due.getTime())));
      },
      Math.min(Math.max(0, delayMs), MAX_DELAY_MS),
    );
  }

  /** An expression in the ledger that is none (any more) must not keep the machine from starting. */
  #due(script: Script, cron: string, after: Date): Date | null {
    try {
      return nextRun(cron, after);
    } catch (error) {
      log('error', 'a cron trigger is not understood', { script: script.name, cron, error: reason(error) });
      return null;
    }
  }
}
