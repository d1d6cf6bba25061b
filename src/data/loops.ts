/**
 * Subrequests to hosts that this machine serves, open at the same time, by Worker. A Worker that calls itself holds one more open with each
 * turn: above the limit that is a loop (`LIMITS.openSubrequestsToSelf`), also when no header tells it.
 */
export interface Loops {
  /** Counts one subrequest; returns what ends it (once), or null above the limit. */
  enter(accountId: string, script: string): (() => void) | null;
}

export function createLoops(limit: number): Loops {
  const open = new Map<string, number>();
  return {
    enter(accountId, script) {
      const key = `${accountId}/${script}`;
      const count = open.get(key) ?? 0;
      if (count >= limit) return null;
      open.set(key, count + 1);
      let left = false;
      return () => {
        if (left) return;
        left = true;
        const now = open.get(key)! - 1;
        if (now === 0) open.delete(key);
        else open.set(key, now);
      };
    },
  };
}
