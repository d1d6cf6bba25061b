/** Which version of a deployment a request gets. Used by the edge and by the relays of service bindings. */
import { createHash } from 'node:crypto';

export interface Share {
  versionId: string;
  /** 0 to 100. */
  percentage: number;
}

/**
 * Picks a version by percentage. With `affinityKey` (header `Cloudflare-Workers-Version-Key`) the same key always gets
 * the same version of the same shares; without, each call rolls the dice.
 */
export function pickVersion(shares: readonly Share[], affinityKey?: string): string | null {
  const first = shares[0];
  if (!first) return null;
  if (shares.length === 1) return first.versionId;
  let point = (affinityKey === undefined ? Math.random() : unitHash(affinityKey)) * 100;
  for (const share of shares) {
    point -= share.percentage;
    if (point < 0) return share.versionId;
  }
  // Percentages that add up to a hair less than 100: the last version that has any traffic.
  return shares.findLast((share) => share.percentage > 0)?.versionId ?? null;
}

function unitHash(key: string): number {
  return createHash('sha256').update(key).digest().readUInt32BE(0) / 2 ** 32;
}
