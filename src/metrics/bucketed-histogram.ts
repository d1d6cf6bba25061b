/**
 * A histogram whose observations come counted into buckets already (`model/histogram.ts`), as a metric that prom-client prints. The sum is an
 * estimate by the middle of each bucket.
 */
import type { MetricObjectWithValues, MetricValue } from 'prom-client';
import { BOUNDS_MS, emptyHistogram } from '../model/histogram.ts';

type Value = MetricValue<string> & { metricName?: string };

export class BucketedHistogram {
  readonly name: string;
  readonly help: string;
  readonly #label: string;
  readonly #counts = new Map<string, number[]>();

  /** `label`: the one label that tells the series apart. Bounds are printed in seconds. */
  constructor(name: string, help: string, label: string) {
    this.name = name;
    this.help = help;
    this.#label = label;
  }

  /** Adds counts by bucket, as in `model/histogram.ts`. */
  add(label: string, counts: readonly number[]): void {
    let sums = this.#counts.get(label);
    if (!sums) {
      sums = emptyHistogram();
      this.#counts.set(label, sums);
    }
    for (const [index, count] of counts.entries()) sums[index]! += count;
  }

  counts(label: string): readonly number[] {
    return this.#counts.get(label) ?? emptyHistogram();
  }

  /** What prom-client asks of a metric. */
  async get(): Promise<MetricObjectWithValues<Value>> {
    const values: Value[] = [];
    for (const [label, counts] of this.#counts) {
      const labels = { [this.#label]: label };
      let count = 0;
      let sumMs = 0;
      for (const [index, inBucket] of counts.entries()) {
        count += inBucket;
        const bound = BOUNDS_MS[index] ?? Number.POSITIVE_INFINITY;
        const below = index === 0 ? 0 : BOUNDS_MS[index - 1]!;
        sumMs += inBucket * (Number.isFinite(bound) ? (below + bound) / 2 : below);
        const le = Number.isFinite(bound) ? String(Number((bound / 1000).toPrecision(4))) : '+Inf';
        values.push({ metricName: `${this.name}_bucket`, labels: { ...labels, le }, value: count });
      }
      values.push({ metricName: `${this.name}_sum`, labels, value: sumMs / 1000 });
      values.push({ metricName: `${this.name}_count`, labels, value: count });
    }
    return { name: this.name, help: this.help, type: 'histogram', values, aggregator: 'sum' } as never;
  }

  reset(): void {
    this.#counts.clear();
  }
}
