import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { daysOfMonth, sumUsage, type UsageCounts } from './usage.ts';

const counts = (part: Partial<UsageCounts>): UsageCounts => ({
  requests: 0,
  errors: 0,
  cpuMs: 0,
  subrequests: 0,
  egressBytes: 0,
  ingressBytes: 0,
  durationMs: 0,
  ...part,
});

describe('sums of usage', () => {
  it('add each field', () => {
    const sum = sumUsage([counts({ requests: 1, egressBytes: 5 }), counts({ requests: 2, errors: 1, durationMs: 7 })]);
    assert.deepEqual(sum, counts({ requests: 3, errors: 1, egressBytes: 5, durationMs: 7 }));
  });

  it('are exact where decimals are not: ten times 0.1 ms is 1 ms', () => {
    assert.equal(sumUsage(Array.from({ length: 10 }, () => counts({ cpuMs: 0.1 }))).cpuMs, 1);
  });
});

it('a month has its days, leap years too', () => {
  assert.deepEqual(daysOfMonth('2026-11'), { from: '2026-11-01', to: '2026-11-30' });
  assert.deepEqual(daysOfMonth('2026-12'), { from: '2026-12-01', to: '2026-12-31' });
  assert.deepEqual(daysOfMonth('2028-02'), { from: '2028-02-01', to: '2028-02-29' });
});
