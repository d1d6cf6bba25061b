/**
 * Isolate processes that outlived their supervisor. They die with it, but for one moment: a supervisor that is killed while bubblewrap is
 * just being started may leave bubblewrap's inner process waiting for ever for its outer one (it holds no code and no secret yet).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Kills what was started in the run directory of a supervisor that is gone; returns how many. */
export function killLeftovers(runDir: string): number {
  let killed = 0;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      // Its directory is among the arguments of each.
      const args = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0');
      if (!args.some((arg) => arg.startsWith(join(runDir, 'i/')))) continue;
      process.kill(Number(name), 'SIGKILL');
      killed++;
    } catch {
      // Gone, or another user's.
    }
  }
  return killed;
}
