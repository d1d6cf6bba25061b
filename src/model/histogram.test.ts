import assert from 'node:assert/strict';
import { it } from 'node:test';
import { BOUNDS_MS, bucketOf, emptyHistogram, quantile } from './histogram.ts';

it('puts each time into the first bucket whose bound is not below it', () => {
  for (const ms of [0, 0.1, 0.25, 0.26, 1, 1.01, 3, 99, 1000, 60_000]) {
    const index = bucketOf(ms);
    assert.ok(ms <= BOUNDS_MS[index]! * 1.000001, `${ms}`);
    assert.ok(index === 0 || ms > BOUNDS_MS[index - 1]! * 0.999999, `${ms}`);
  }
  for (const [index, bound] of BOUNDS_MS.entries()) assert.equal(bucketOf(bound), index);
});

it('has a last bucket for what is above all bounds', () => {
  assert.equal(bucketOf(1e9), BOUNDS_MS.length);
  assert.equal(emptyHistogram().length, BOUNDS_MS.length + 1);
});

it('gives a quantile as the bound of the bucket that holds it', () => {
  const counts = emptyHistogram();
  counts[bucketOf(1)] = 95;
  counts[bucketOf(100)] = 5;
  assert.equal(quantile(counts, 0.95), BOUNDS_MS[bucketOf(1)]);
  assert.equal(quantile(counts, 0.96), BOUNDS_MS[bucketOf(100)]);
  assert.equal(quantile(emptyHistogram(), 0.5), 0);
});
