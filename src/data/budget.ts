/**
 * Subrequests of one isolate process. The limit is per request (Cloudflare's default is 1,000 per request:
 * https://developers.cloudflare.com/workers/platform/limits/#subrequests), but nothing on the wire tells which request a
 * subrequest belongs to. So the process may make `limit` for each request that it got since it was last idle.
 *
 * Who sends requests reports them a few times a second. What seems to be too much may belong to requests that nobody reported yet, so it
 * waits for the reports, which are asked for at once.
 */
export interface Budget {
  /** One subrequest. False: above what the requests may make. */
  take(): boolean;
  /** Null if there is room for one more as far as is known; else resolves when the reports are in: then `take` is right. */
  settle(): Promise<void> | null;
  /** A process reports what it sent to the isolate: requests open now, and started since its last report. */
  report(from: string, load: { open: number; started: number }): void;
  /** A reporter is gone or new: what it had open is not. */
  forget(from: string): void;
}

/** Reports are in by then: they come over the bus of this machine. */
const SETTLE_MS = 100;

/** `limit`: subrequests that one request may make. `ask`: who sends requests is to report them now. */
export function createBudget(limit: number, ask: () => void = () => undefined): Budget {
  const open = new Map<string, number>();
  let started = 0;
  let used = 0;
  let waiting: { done: Promise<void>; end: () => void } | null = null;
  /** `started` when the reports were in and there was no room: nothing has to be asked again. */
  let refusedAt = -1;

  const hasRoom = () => used < limit * Math.max(1, started);

  function resetWhenIdle(): void {
    if (open.size > 0) return;
    started = 0;
    used = 0;
    refusedAt = -1;
  }

  return {
    take() {
      if (!hasRoom()) return false;
      used++;
      return true;
    },
    settle() {
      if (hasRoom() || refusedAt === started) return null;
      if (!waiting) {
        const { promise, resolve } = Promise.withResolvers<void>();
        const timer = setTimeout(() => {
          if (!hasRoom()) refusedAt = started;
          waiting?.end();
        }, SETTLE_MS);
        const end = () => {
          clearTimeout(timer);
          waiting = null;
          resolve();
        };
        waiting = { done: promise, end };
        ask();
      }
      return waiting.done;
    },
    report(from, load) {
      started += load.started;
      if (load.open > 0) open.set(from, load.open);
      else open.delete(from);
      resetWhenIdle();
      if (hasRoom()) waiting?.end();
    },
    forget(from) {
      open.delete(from);
      resetWhenIdle();
      if (hasRoom()) waiting?.end();
    },
  };
}

/** Counts one subrequest, when it is known whether there is room for it. */
export async function takeSettled(budget: Budget): Promise<boolean> {
  // Those that waited together may find less room than they are.
  for (let settled = budget.settle(); settled; settled = budget.settle()) {
    await settled;
    if (budget.take()) return true;
  }
  return budget.take();
}
