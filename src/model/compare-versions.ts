/**
 * The rule of automatic roll-back: when is the new version of a split worse than the old one?
 *
 * Both versions are compared by what they answered at the same time, since the deployment began. The new version is worse if one of:
 * 1. Errors. The share of its requests that failed (exception, exceeded limit, status 500 and above) is larger than the old version's by
 *    Fisher's exact test, and by at least `error_increase` (0.01: one of a hundred requests).
 * 2. Latency. More of its requests than chance allows took longer than the old version's p95 (time to the answer's head), and its p95 is at
 *    least `latency_ratio` times (1.5) and `latency_increase_ms` (10 ms) above the old one's.
 *    The test is exact as well: T is the upper bound of the histogram bucket of the old version's p95, so at most k = n - ceil(0.95 n) of its n
 *    requests took longer than T. That x requests of the new version exceed the (k+1)-th largest time of the old one is, for equal
 *    versions, as likely as that at least x of the x+k largest of all times are new ones (exceedance test): Fisher's test with k of n.
 *
 * Looking again and again finds a difference between equal versions some day, so the level is spent: half of `alpha` is for each of the two tests,
 * and look number i has 1/(i(i+1)) of it. These parts add up to 1 over any number of looks, so an equal version is rolled back with a
 * probability of at most `alpha` (0.001), for as long as the same two versions share the traffic, whatever the shares; a restart of the core begins
 * anew. This holds for requests that fail or are slow independently of each other. One visitor who repeats a failing request is not
 * independent: the minimum effects are there for that, and they do not cover every case.
 *
 * The first look is at `min_requests` (50) of both versions, the next when the new one has a quarter more, or any more after 30 s. What was
 * counted is dropped after `window_minutes` (10) with 20 times `min_requests`: a version that goes bad late is not hidden by its good past.
 */
import { fisherExact } from './fisher.ts';
import { BOUNDS_MS, emptyHistogram, quantile } from './histogram.ts';

/** `rollout` of the configuration. */
export interface RollbackRule {
  auto_rollback: boolean;
  /** Probability at most with which a version that is equal to the old one is rolled back. */
  alpha: number;
  min_requests: number;
  error_increase: number;
  latency_ratio: number;
  latency_increase_ms: number;
  window_minutes: number;
}

export const DEFAULT_RULE: RollbackRule = {
  auto_rollback: true,
  alpha: 0.001,
  min_requests: 50,
  error_increase: 0.01,
  latency_ratio: 1.5,
  latency_increase_ms: 10,
  window_minutes: 10,
};

/** Of one version: counts, and the latency histogram of `histogram.ts`. */
export interface Observed {
  requests: number;
  errors: number;
  latency: number[];
}

/** Why the new version is worse. */
export interface Finding {
  by: 'errors' | 'latency';
  /** p value, and the level that it is below. */
  p: number;
  level: number;
  old: Observed;
  new: Observed;
}

const GROWTH = 1.25;
const LOOK_MS = 30_000;
const WINDOW_FACTOR = 20;

export function emptyObserved(): Observed {
  return { requests: 0, errors: 0, latency: emptyHistogram() };
}

/** One look: both tests, each at `level`. */
export function findWorse(old: Observed, fresh: Observed, level: number, rule: RollbackRule): Finding | null {
  const finding = (by: Finding['by'], p: number): Finding => ({ by, p, level, old, new: fresh });

  const failed = fisherExact({ hits: fresh.errors, of: fresh.requests }, { hits: old.errors, of: old.requests });
  const increase = fresh.errors / fresh.requests - old.errors / old.requests;
  if (failed < level && increase >= rule.error_increase) return finding('errors', failed);

  const [before, after] = [quantile(old.latency, 0.95), quantile(fresh.latency, 0.95)];
  if (after < before * rule.latency_ratio || after < before + rule.latency_increase_ms) return null;
  const timed = sum(old.latency);
  const slow = fisherExact(
    { hits: slowerThan(fresh.latency, before), of: sum(fresh.latency) },
    { hits: timed - Math.ceil(0.95 * timed), of: timed },
  );
  return slow < level ? finding('latency', slow) : null;
}

/** The comparison of one pair of versions: counts what is reported, and decides when to look. Times in ms. */
export class Comparison {
  old = emptyObserved();
  new = emptyObserved();
  looks = 0;
  readonly #rule: RollbackRule;
  #since: number;
  #lastLook = { at: 0, requests: 0 };

  constructor(rule: RollbackRule, now: number) {
    this.#rule = rule;
    this.#since = now;
  }

  /** Forgets what was counted, for instance because the shares changed. Looks stay spent. */
  begin(now: number): void {
    this.old = emptyObserved();
    this.new = emptyObserved();
    this.#since = now;
    this.#lastLook = { at: 0, requests: 0 };
  }

  add(which: 'old' | 'new', { requests, errors, latency }: Observed): void {
    const observed = this[which];
    observed.requests += requests;
    observed.errors += errors;
    for (let i = 0; i < observed.latency.length; i++) observed.latency[i]! += latency[i] ?? 0;
  }

  /** Looks if it is time to. */
  look(now: number): Finding | null {
    const { min_requests, alpha, window_minutes } = this.#rule;
    const { requests } = this.new;
    if (requests < min_requests || this.old.requests < min_requests) return null;
    const { at, requests: seen } = this.#lastLook;
    if (requests < seen * GROWTH && (requests === seen || now - at < LOOK_MS)) return null;
    this.looks++;
    this.#lastLook = { at: now, requests };
    const level = alpha / 2 / (this.looks * (this.looks + 1));
    const found = findWorse(this.old, this.new, level, this.#rule);
    const over = now - this.#since >= window_minutes * 60_000 && requests >= WINDOW_FACTOR * min_requests;
    if (!found && over) this.begin(now);
    return found;
  }
}

/** "Version 1a2b3c4d was rolled back: ...", with the figures that decided. For people. */
export function describeFinding({ by, p, level, ...observed }: Finding, ids: { old: string; new: string }): string {
  const test = `Fisher's exact test: p = ${p.toExponential(1)}, below ${level.toExponential(1)}`;
  if (by === 'errors') {
    const share = ({ errors, requests }: Observed) =>
      `${((100 * errors) / requests).toFixed(1)}% of ${requests} requests`;
    return `Automatic rollback of version ${short(ids.new)}: ${share(observed.new)} failed, on ${short(ids.old)} ${share(observed.old)} (${test})`;
  }
  const p95 = ({ latency }: Observed) => `${Number(quantile(latency, 0.95).toPrecision(3))} ms`;
  const slower = slowerThan(observed.new.latency, quantile(observed.old.latency, 0.95));
  return `Automatic rollback of version ${short(ids.new)}: its p95 is ${p95(observed.new)}, that of ${short(ids.old)} ${p95(observed.old)}; ${slower} of its ${sum(observed.new.latency)} requests took longer than that (${test})`;
}

const short = (id: string) => id.slice(0, 8);
const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);

/** Requests above a bucket's upper bound. */
function slowerThan(latency: readonly number[], boundMs: number): number {
  return latency.reduce(
    (total, count, i) => ((BOUNDS_MS[i] ?? Number.POSITIVE_INFINITY) > boundMs ? total + count : total),
    0,
  );
}
