import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  Comparison,
  DEFAULT_RULE,
  describeFinding,
  emptyObserved,
  findWorse,
  type Observed,
} from './compare-versions.ts';
import { fisherExact } from './fisher.ts';
import { bucketOf, quantile } from './histogram.ts';

/** Requests that took these times. */
function observed(times: [count: number, ms: number][], errors = 0): Observed {
  const result = emptyObserved();
  for (const [count, ms] of times) {
    result.requests += count;
    result.latency[bucketOf(ms)]! += count;
  }
  return { ...result, errors };
}
const failing = (errors: number, of: number) => observed([[of, 5]], errors);
const LEVEL = 0.001;

describe('one look at errors', () => {
  it('finds the new version worse when its share is larger by more than chance', () => {
    const found = findWorse(failing(0, 450), failing(15, 50), LEVEL, DEFAULT_RULE);
    assert.equal(found?.by, 'errors');
    assert.equal(found.p, fisherExact({ hits: 15, of: 50 }, { hits: 0, of: 450 }));
  });

  it('does not when chance does such a thing more often than the level says', () => {
    // 3 of 50 beside 5 of 450: p = 0.03.
    assert.equal(findWorse(failing(5, 450), failing(3, 50), LEVEL, DEFAULT_RULE), null);
    assert.equal(findWorse(failing(5, 450), failing(3, 50), 0.05, DEFAULT_RULE)?.by, 'errors');
  });

  it('does not when the difference is certain, but too small to matter', () => {
    assert.equal(findWorse(failing(1000, 1e6), failing(5000, 1e6), LEVEL, DEFAULT_RULE), null);
    assert.equal(findWorse(failing(1000, 1e6), failing(12_000, 1e6), LEVEL, DEFAULT_RULE)?.by, 'errors');
  });

  it('does not when the new version is better', () => {
    assert.equal(findWorse(failing(300, 1000), failing(0, 1000), LEVEL, DEFAULT_RULE), null);
  });
});

describe('one look at latency', () => {
  const old = observed([
    [960, 10],
    [40, 40],
  ]);

  it('finds the new version worse when its p95 is well above and more than chance are slower', () => {
    const found = findWorse(old, observed([[30, 10], [70, 300]]), LEVEL, DEFAULT_RULE); // biome-ignore format: one line
    assert.equal(found?.by, 'latency');
    // 40 of the old ones were slower than the old p95; up to 50 of 1000 could have been, and these are counted.
    assert.equal(found.p, fisherExact({ hits: 70, of: 100 }, { hits: 50, of: 1000 }));
  });

  it('does not when few samples make a high p95 likely by chance', () => {
    const fresh = observed([[45, 10], [5, 300]]); // biome-ignore format: one line
    assert.ok(quantile(fresh.latency, 0.95) > 10 * quantile(old.latency, 0.95));
    assert.equal(findWorse(old, fresh, LEVEL, DEFAULT_RULE), null);
  });

  it('does not when all are a little slower: less than the ratio, or less than the difference in ms', () => {
    assert.equal(findWorse(observed([[1000, 100]]), observed([[1000, 120]]), LEVEL, DEFAULT_RULE), null);
    assert.equal(findWorse(observed([[1000, 1]]), observed([[1000, 8]]), LEVEL, DEFAULT_RULE), null);
  });

  it('does not when the new version is faster', () => {
    assert.equal(findWorse(observed([[1000, 500]]), observed([[1000, 5]]), LEVEL, DEFAULT_RULE), null);
  });

  it('finds answers that take longer than the last bucket', () => {
    assert.equal(findWorse(old, observed([[100, 1e6]]), LEVEL, DEFAULT_RULE)?.by, 'latency');
    assert.equal(findWorse(observed([[100, 1e6]]), observed([[100, 1e6]]), LEVEL, DEFAULT_RULE), null);
  });
});

describe('a comparison', () => {
  it('looks first when both versions have the minimum of requests', () => {
    const comparison = new Comparison(DEFAULT_RULE, 0);
    comparison.add('new', failing(49, 49));
    comparison.add('old', failing(0, 1000));
    assert.equal(comparison.look(0), null);
    assert.equal(comparison.looks, 0);
    comparison.add('new', failing(1, 1));
    assert.equal(comparison.look(0)?.by, 'errors');
    assert.equal(comparison.looks, 1);
  });

  it('looks again after a quarter more, or after 30 seconds with anything more', () => {
    const comparison = new Comparison(DEFAULT_RULE, 0);
    comparison.add('old', failing(0, 1000));
    const looksAfter = (requests: number, now: number) => {
      comparison.add('new', failing(0, requests));
      comparison.look(now);
      return comparison.looks;
    };
    assert.equal(looksAfter(100, 0), 1);
    assert.equal(looksAfter(24, 1000), 1);
    assert.equal(looksAfter(1, 2000), 2);
    assert.equal(looksAfter(0, 40_000), 2);
    assert.equal(looksAfter(1, 40_000), 3);
  });

  it('spends less of the level at each look, and never more than half of it on each test', () => {
    const comparison = new Comparison({ ...DEFAULT_RULE, alpha: 0.001 }, 0);
    comparison.add('old', failing(0, 10_000));
    for (let i = 0; i < 3; i++) {
      comparison.add('new', failing(0, 1000 * 10 ** i));
      comparison.look(0);
    }
    comparison.add('new', failing(900_000, 1_000_000));
    assert.equal(comparison.look(0)!.level, 0.0005 / (4 * 5));
    let spent = 0;
    for (let i = 1; i <= 10_000; i++) spent += 1 / (i * (i + 1));
    assert.ok(spent < 1 && spent > 0.999);
  });

  it('finds a version that goes bad late: its good past is dropped after the window', () => {
    const minute = 60_000;
    const comparison = new Comparison(DEFAULT_RULE, 0);
    comparison.add('old', failing(0, 1e6));
    comparison.add('new', failing(0, 1e6));
    assert.equal(comparison.look(11 * minute), null);
    comparison.add('old', failing(0, 1000));
    comparison.add('new', failing(300, 1000));
    assert.equal(comparison.look(11 * minute + 1000)?.by, 'errors');
  });

  it('keeps what was counted in the window while there is little of it', () => {
    const comparison = new Comparison(DEFAULT_RULE, 0);
    comparison.add('old', failing(0, 60));
    comparison.add('new', failing(0, 60));
    comparison.look(3_600_000);
    assert.equal(comparison.new.requests, 60);
  });

  it('begins anew with new shares, and the looks stay spent', () => {
    const comparison = new Comparison(DEFAULT_RULE, 0);
    comparison.add('old', failing(0, 100));
    comparison.add('new', failing(0, 100));
    comparison.look(0);
    comparison.begin(1);
    assert.deepEqual([comparison.old.requests, comparison.new.requests, comparison.looks], [0, 0, 1]);
  });
});

describe('the probability of a roll-back', () => {
  /** mulberry32: the same numbers in each run. */
  function generator(seed: number): () => number {
    let state = seed;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
  }
  interface Behaviour {
    errorRate: number;
    /** Median and spread of a log-normal time. */
    ms: number;
    spread: number;
  }
  /** Without the minimum effects, so that the tests alone decide; `alpha` so large that it shows in some hundred runs. */
  const bare = { ...DEFAULT_RULE, alpha: 0.1, error_increase: 0, latency_ratio: 1, latency_increase_ms: 0 };

  /** Share of runs that end in a roll-back, each with a request of the old and `share` of the new version at a time. */
  function rolledBack(runs: number, seed: number, old: Behaviour, fresh: Behaviour, rule = bare, requests = 3000) {
    const random = generator(seed);
    const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    let count = 0;
    for (let run = 0; run < runs; run++) {
      const comparison = new Comparison(rule, 0);
      for (let i = 0; i < requests; i++) {
        const which = random() < 0.2 ? 'new' : 'old';
        const { errorRate, ms, spread } = which === 'new' ? fresh : old;
        const side = comparison[which];
        side.requests++;
        if (random() < errorRate) side.errors++;
        side.latency[bucketOf(ms * Math.exp(spread * normal()))]!++;
        if (i % 10 === 0 && comparison.look(i)) {
          count++;
          break;
        }
      }
    }
    return count / runs;
  }

  for (const [name, behaviour] of [
    ['with 2% of errors and a wide spread of times', { errorRate: 0.02, ms: 20, spread: 1 }],
    ['with 30% of errors and all times in two or three buckets', { errorRate: 0.3, ms: 20, spread: 0.2 }],
  ] as const) {
    it(`of an equal version ${name} is at most alpha, over all looks`, () => {
      const share = rolledBack(600, 1, behaviour, behaviour);
      // Four standard deviations of 600 runs above alpha would be 0.149; alpha itself is kept with room.
      assert.ok(share <= bare.alpha, `${share}`);
    });
  }

  it('of an equal version is as good as none with the defaults', () => {
    const behaviour = { errorRate: 0.05, ms: 20, spread: 1 };
    assert.equal(rolledBack(300, 2, behaviour, behaviour, DEFAULT_RULE), 0);
  });

  it('of a version that fails on 30% of its requests is as good as certain', () => {
    const good = { errorRate: 0.01, ms: 20, spread: 1 };
    assert.equal(rolledBack(100, 3, good, { ...good, errorRate: 0.3 }, DEFAULT_RULE), 1);
  });

  it('of a version that takes four times as long is as good as certain', () => {
    const good = { errorRate: 0.01, ms: 20, spread: 0.5 };
    assert.equal(rolledBack(100, 4, good, { ...good, ms: 80 }, DEFAULT_RULE), 1);
  });

  it('is not zero for slightly worse ones: the simulation can tell', () => {
    const good = { errorRate: 0.02, ms: 20, spread: 1 };
    assert.ok(rolledBack(100, 5, good, { ...good, errorRate: 0.08 }) > 0.3);
    assert.ok(rolledBack(100, 6, good, { ...good, ms: 35 }) > 0.3);
  });
});

describe('the message of a roll-back', () => {
  const ids = { old: '9f8e7d6c-0000', new: '1a2b3c4d-0000' };

  it('has the figures of errors', () => {
    const found = findWorse(failing(2, 900), failing(30, 100), LEVEL, DEFAULT_RULE)!;
    assert.match(
      describeFinding(found, ids),
      /^Automatic rollback of version 1a2b3c4d: 30\.0% of 100 requests failed, on 9f8e7d6c 0\.2% of 900 requests \(Fisher's exact test: p = \d\.\de-\d+, below 1\.0e-3\)$/,
    );
  });

  it('has the figures of latency', () => {
    const found = findWorse(observed([[900, 10]]), observed([[100, 300]]), LEVEL, DEFAULT_RULE)!;
    assert.match(
      describeFinding(found, ids),
      /^Automatic rollback of version 1a2b3c4d: its p95 is 362 ms, that of 9f8e7d6c 11\.3 ms; 100 of its 100 requests took longer than that \(Fisher/,
    );
  });
});
