import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fisherExact } from './fisher.ts';

/** The same probability as a fraction of whole numbers. */
function exactly(a: { hits: number; of: number }, b: { hits: number; of: number }): number {
  const choose = (n: number, k: number) => {
    let result = 1n;
    for (let i = 0; i < k; i++) result = (result * BigInt(n - i)) / BigInt(i + 1);
    return result;
  };
  const hits = a.hits + b.hits;
  let sum = 0n;
  for (let x = a.hits; x <= Math.min(hits, a.of); x++) {
    if (a.of - x <= a.of + b.of - hits) sum += choose(hits, x) * choose(a.of + b.of - hits, a.of - x);
  }
  const shift = 10n ** 300n;
  return Number((sum * shift) / choose(a.of + b.of, a.of)) / 1e300;
}

const near = (value: number, expected: number) =>
  assert.ok(Math.abs(value - expected) <= 1e-9 * expected, `${value} is not ${expected}`);

describe("Fisher's exact test", () => {
  it('gives the textbook value: of 8 cups 4 with milk first, all guessed', () => {
    near(fisherExact({ hits: 4, of: 4 }, { hits: 0, of: 4 }), 1 / 70);
    near(fisherExact({ hits: 3, of: 4 }, { hits: 1, of: 4 }), 17 / 70);
  });

  it('agrees with whole-number arithmetic', () => {
    for (const [a, n, b, m] of [
      [1, 1, 0, 1],
      [5, 10, 2, 30],
      [30, 100, 3, 900],
      [100, 100, 0, 900],
      [51, 1000, 250, 5000],
      [33, 400, 60, 900],
      [40, 40, 31, 32],
    ] as const) {
      near(fisherExact({ hits: a, of: n }, { hits: b, of: m }), exactly({ hits: a, of: n }, { hits: b, of: m }));
    }
  });

  it('is 1 when the share is not larger, and when nothing was seen', () => {
    assert.equal(fisherExact({ hits: 1, of: 10 }, { hits: 10, of: 100 }), 1);
    assert.equal(fisherExact({ hits: 0, of: 10 }, { hits: 0, of: 100 }), 1);
    assert.equal(fisherExact({ hits: 0, of: 0 }, { hits: 0, of: 0 }), 1);
    assert.equal(fisherExact({ hits: 3, of: 3 }, { hits: 0, of: 0 }), 1);
  });

  it('is close to the normal approximation for millions of requests', () => {
    // 1,010,000 and 1,000,000 of 10^8 each: z = 7.09, upper tail 6.6e-13.
    const p = fisherExact({ hits: 1_010_000, of: 1e8 }, { hits: 1_000_000, of: 1e8 });
    assert.ok(p > 4e-13 && p < 9e-13, String(p));
  });
});
