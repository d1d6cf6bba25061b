/**
 * Fisher's exact test, one-sided: is a share of one sample larger than that of another by more than chance? It needs no minimum of samples
 * and no approximation: given the sum of both, the hits of one sample follow the hypergeometric distribution
 * (R. A. Fisher, The Design of Experiments, 1935; https://en.wikipedia.org/wiki/Fisher%27s_exact_test).
 */

/** `hits` of `of`, whole numbers. */
export interface Sample {
  hits: number;
  of: number;
}

/**
 * Probability of at least `a.hits` hits in `a`, given the hits of both together, if both samples have the same share. 1 if the share of `a` is
 * not above that of `b`. What is below 1e-300 may be 0.
 */
export function fisherExact(a: Sample, b: Sample): number {
  if (a.hits * b.of <= b.hits * a.of) return 1;
  const hits = a.hits + b.hits;
  const misses = a.of + b.of - hits;
  let term = Math.exp(logChoose(hits, a.hits) + logChoose(misses, a.of - a.hits) - logChoose(hits + misses, a.of));
  let sum = 0;
  // Above the mean each term is smaller than the one before: the sum ends when they stop to count.
  for (let x = a.hits; x <= Math.min(a.of, hits) && term > sum * 1e-17; x++) {
    sum += term;
    term *= ((hits - x) * (a.of - x)) / ((x + 1) * (misses - a.of + x + 1));
  }
  return Math.min(1, sum);
}

function logChoose(n: number, k: number): number {
  return logFactorial(n) - logFactorial(k) - logFactorial(n - k);
}

const TABLE = [0, 0];
for (let n = 2; n < 32; n++) TABLE.push(TABLE[n - 1]! + Math.log(n));

/** Stirling's series, https://dlmf.nist.gov/5.11.E1; from 32 on the terms left out are below 1e-13. */
function logFactorial(n: number): number {
  if (n < TABLE.length) return TABLE[n]!;
  const series = (1 - (1 / 30 - 1 / (105 * n * n)) / (n * n)) / (12 * n);
  return n * Math.log(n) - n + 0.5 * Math.log(2 * Math.PI * n) + series;
}
