/**
 * Passes to the core what it needs to compare two versions of a Worker: the traffic that the
 * deployment's percentages gave to those that share it, and nothing else.
 */
import type { Publications } from '../model/messages.ts';
import type { Bus } from '../state/bus.ts';
import type { Follower } from './follower.ts';

/** Returns stop. */
export function forwardTraffic(
  bus: Pick<Bus, 'subscribe' | 'publish'>,
  follower: Pick<Follower, 'script'>,
  pop: string,
): () => void {
  return bus.subscribe('local.traffic', ({ versions }: Publications['local.traffic']) => {
    const shared = versions.filter(({ accountId, script, versionId, chosen }) => {
      if (chosen) return false;
      const shares = follower.script(accountId, script)?.deployment?.versions ?? [];
      return shares.length > 1 && shares.some((share) => share.versionId === versionId);
    });
    if (shared.length > 0) bus.publish('pop.traffic', { pop, versions: shared } satisfies Publications['pop.traffic']);
  });
}
