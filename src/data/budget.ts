/**
 * Subrequests of one isolate process. The limit is per request (Cloudflare's default is 1,000 per request:
 * https://developers.cloudflare.com/workers/platform/limits/#subrequests), but nothing on the wire tells which request a
 * subrequest belongs to. So the process may make `limit` for each request that it got since it was last idle.
 */
export interface Budget {
  /** One subrequest. False: above what the requests may make. */
  take(): boolean;
  /** A process reports what it sent to the isolate: requests open now, and started since its last report. */
  report(from: string, load: { open: number; started: number }): void;
  /** A reporter is gone or new: what it had open is not. */
  forget(from: string): void;
}

/** `limit`: subrequests that one request may make. */
export function createBudget(limit: number): Budget {
  const open = new Map<string, number>();
  let started = 0;
  let used = 0;

  function resetWhenIdle(): void {
    if (open.size > 0) return;
    started = 0;
    used = 0;
  }

  return {
    take() {
      if (used >= limit * Math.max(1, started)) return false;
      used++;
      return true;
    },
    report(from, load) {
      started += load.started;
      if (load.open > 0) open.set(from, load.open);
      else open.delete(from);
      resetWhenIdle();
    },
    forget(from) {
      open.delete(from);
      resetWhenIdle();
    },
  };
}
