/** Which of the two versions that share the traffic is the old one. */
import type { Deployment, Script } from '../../model/documents.ts';
import type { CoreContext } from '../context.ts';
import { listDeployments } from '../store.ts';

export interface Roles {
  old: string;
  new: string;
}

/** The two versions that share the traffic, larger share first; null if one has all of it. */
export function splitOf(deployment: Deployment | null): [string, string] | null {
  const sharing = (deployment?.versions ?? []).filter(({ percentage }) => percentage > 0);
  if (sharing.length !== 2) return null;
  const [first, second] = sharing.toSorted((a, b) => b.percentage - a.percentage);
  return [first!.versionId, second!.versionId];
}

/**
 * The old version is the one that had traffic before the two began to share it; the deployments since then only moved the shares. Without such a
 * deployment in the history it is the one with the larger share. Null if the traffic is not shared.
 */
export async function rolesOf(context: CoreContext, script: Script): Promise<Roles | null> {
  const split = splitOf(script.deployment);
  if (!split) return null;
  for (const { versions } of await listDeployments(context, script)) {
    const had = split.filter((id) => versions.some(({ versionId, percentage }) => versionId === id && percentage > 0));
    if (had.length === 2) continue;
    const old = had[0] ?? split[0];
    return { old, new: split.find((id) => id !== old)! };
  }
  return { old: split[0], new: split[1] };
}
