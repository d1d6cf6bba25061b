/** Histograms whose buckets are 5% wide: a value is known to within 3%, and any number of them takes little space. */

const WIDTH = Math.log(1.05);
/** Of 0, below all others. */
const ZERO = -1_000;

/** Bucket -> how many. */
export type Histogram = Map<number, number>;

export function bucketOf(value: number): number {
  return value > 0 ? Math.max(ZERO + 1, Math.floor(Math.log(value) / WIDTH)) : ZERO;
}

/** The middle of a bucket. */
function middleOf(bucket: number): number {
  return bucket === ZERO ? 0 : Number(Math.exp((bucket + 0.5) * WIDTH).toPrecision(3));
}

/** The value that a share of all (0 to 1) does not exceed; undefined if there are none. */
export function quantile(histogram: Histogram, share: number): number | undefined {
  const buckets = [...histogram].sort(([a], [b]) => a - b);
  let left = share * buckets.reduce((sum, [, count]) => sum + count, 0);
  for (const [bucket, count] of buckets) {
    left -= count;
    if (left <= 0) return middleOf(bucket);
  }
  return undefined;
}
