/**
 * Which version of a Worker a request gets: a preview's own, else by the deployment's percentages; the same key of
 * `Cloudflare-Workers-Version-Key` always gets the same one, and `Cloudflare-Workers-Version-Overrides` chooses among the deployed ones.
 * https://developers.cloudflare.com/workers/configuration/versions-and-deployments/gradual-deployments/
 */

import type { Target } from '../model/route.ts';
import { pickVersion } from '../model/traffic.ts';
import type { Head } from './headers.ts';
import type { Snapshot, VersionDoc } from './snapshot.ts';

/** Undefined if the Worker has no deployment. */
export function versionOf(snapshot: Snapshot, target: Target, head: Head): VersionDoc | undefined {
  if (target.versionId) return snapshot.version(target.versionId);
  const shares = snapshot.routes.script(target.accountId, target.script)?.deployment?.versions ?? [];
  const wanted = head.versionOverrides ? overrideFor(head.versionOverrides, target.script) : undefined;
  const id =
    wanted && shares.some(({ versionId }) => versionId === wanted) ? wanted : pickVersion(shares, head.versionKey);
  return id ? snapshot.version(id) : undefined;
}

/** The header is a structured dictionary: `my-worker="<version id>", other="..."`. */
export function overrideFor(header: string, script: string): string | undefined {
  for (const match of header.matchAll(/(?:^|,)\s*([a-z0-9_-]+)\s*=\s*"([0-9a-f-]{36})"/gi)) {
    if (match[1] === script) return match[2];
  }
  return undefined;
}
