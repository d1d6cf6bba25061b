/**
 * Times as counts in buckets of fixed bounds, so that histograms of several processes can be added. Each bound is the square root of two
 * times the one before: a percentile read from it is at most 42% too high, which the rule that compares versions allows for.
 */

const FIRST_MS = 0.25;
const COUNT = 38;

/** Upper bounds of the buckets in ms, from 0.25 ms to 93 s; one more bucket takes what is above. */
export const BOUNDS_MS: readonly number[] = Array.from({ length: COUNT }, (_, i) => FIRST_MS * 2 ** (i / 2));

/** An empty histogram: `BOUNDS_MS.length + 1` counts. */
export function emptyHistogram(): number[] {
  return new Array<number>(COUNT + 1).fill(0);
}

/** Index of the bucket of a time. */
export function bucketOf(ms: number): number {
  if (ms <= FIRST_MS) return 0;
  return Math.min(COUNT, Math.ceil(2 * Math.log2(ms / FIRST_MS) - 1e-9));
}

/** Upper bound in ms of the bucket that holds the given share (0 to 1) of all; 0 for an empty histogram, Infinity above the last bound. */
export function quantile(counts: readonly number[], share: number): number {
  let total = 0;
  for (const count of counts) total += count;
  if (total === 0) return 0;
  let sum = 0;
  for (let i = 0; i < counts.length; i++) {
    sum += counts[i]!;
    if (sum >= share * total) return BOUNDS_MS[i] ?? Number.POSITIVE_INFINITY;
  }
  return Number.POSITIVE_INFINITY;
}
