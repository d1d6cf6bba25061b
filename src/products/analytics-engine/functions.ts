/**
 * What queries may call: functions of Analytics Engine that SQLite lacks, or has with another meaning, and those of SQLite itself
 * (https://developers.cloudflare.com/analytics/analytics-engine/sql-reference/).
 */
import type { DatabaseSync } from 'node:sqlite';
import {
  addInterval,
  dateTimeText,
  formatDateTime,
  millisOf,
  partOf,
  requireUtc,
  secondsOf,
  startOfInterval,
  toDateTime,
} from './datetime.ts';
import { QueryError } from './tokens.ts';

type Value = string | number | bigint | null | Uint8Array;

/** SQLite's own, in lower case. None reaches outside of the query. */
const BUILT_IN =
  'abs avg cast coalesce concat count exp glob group_concat hex if ifnull iif instr length ln lower ltrim max min mod nullif pow power replace round rtrim sign sqrt substr substring sum total trim upper'.split(
    ' ',
  );

/** A number as SQLite's INTEGER. */
const whole = (value: number): Value => (Number.isFinite(value) ? BigInt(Math.floor(value)) : null);
const truth = (value: boolean): Value => (value ? 1n : 0n);
const part = (name: string) => (value: Value) => whole(partOf(value, name));
const startOf = (interval: string) => (value: Value) => startOfInterval(value, interval);

function unsigned(value: Value): Value {
  return whole(secondsOf(value) ?? Number(value));
}

function scaled(round: (value: number) => number): (value: Value, digits?: Value) => Value {
  return (value, digits = 0) => {
    const factor = 10 ** Number(digits);
    return round(Number(value) * factor) / factor;
  };
}

const matchers = new Map<string, RegExp>();
/** LIKE with and without regard to case. */
function matches(pattern: Value, value: Value, flags: string): Value {
  const key = `${flags}/${pattern}`;
  let matcher = matchers.get(key);
  if (!matcher) {
    const source = String(pattern)
      .replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')
      .replaceAll('%', '[\\s\\S]*')
      .replaceAll('_', '[\\s\\S]');
    matcher = new RegExp(`^${source}$`, flags);
    if (matchers.size > 100) matchers.clear();
    matchers.set(key, matcher);
  }
  return truth(matcher.test(String(value)));
}

function format(pattern: Value, ...values: Value[]): Value {
  let next = 0;
  return String(pattern).replaceAll('{}', () => {
    if (next >= values.length) throw new QueryError('format() has more {} than values.');
    return String(values[next++]);
  });
}

const FUNCTIONS: Record<string, (...values: any[]) => Value> = {
  addInterval,
  toUnixTimestamp: (value) => whole(millisOf(value) / 1000),
  toStartOfYear: startOf('1 YEAR'),
  toStartOfMonth: startOf('1 MONTH'),
  toStartOfWeek: startOf('1 WEEK'),
  toStartOfDay: startOf('1 DAY'),
  toStartOfHour: startOf('1 HOUR'),
  toStartOfFifteenMinutes: startOf('15 MINUTE'),
  toStartOfTenMinutes: startOf('10 MINUTE'),
  toStartOfFiveMinutes: startOf('5 MINUTE'),
  toStartOfMinute: startOf('1 MINUTE'),
  toYear: part('YEAR'),
  toMonth: part('MONTH'),
  toDayOfMonth: part('DAY'),
  toDayOfWeek: part('WEEKDAY'),
  toHour: part('HOUR'),
  toMinute: part('MINUTE'),
  toSecond: part('SECOND'),
  toYYYYMM: (value) => whole(partOf(value, 'YEAR') * 100 + partOf(value, 'MONTH')),
  extract: (name, value) => whole(partOf(value, String(name))),
  toUInt8: unsigned,
  toUInt32: unsigned,
  intDiv: (a, b) => whole(Number(a) / Number(b)),
  log: (value) => Math.log(Number(value)),
  like: (pattern, value) => matches(pattern, value, 'u'),
  regexp: (pattern, value) => matches(pattern, value, 'iu'),
  empty: (value) => truth(value === '' || value === null),
  startsWith: (value, prefix) => truth(String(value).startsWith(String(prefix))),
  endsWith: (value, suffix) => truth(String(value).endsWith(String(suffix))),
  position: (needle, haystack) => whole(indexOf(needle, haystack)),
  lowerUTF8: (value) => String(value).toLowerCase(),
  upperUTF8: (value) => String(value).toUpperCase(),
  toLower: (value) => String(value).toLowerCase(),
  toUpper: (value) => String(value).toUpperCase(),
  bitAnd: (a, b) => toBits(a) & toBits(b),
  bitOr: (a, b) => toBits(a) | toBits(b),
  bitXor: (a, b) => toBits(a) ^ toBits(b),
};

/** With arguments that may be left out. */
const VARIABLE: typeof FUNCTIONS = {
  toDateTime(value, zone) {
    requireUtc(zone);
    return toDateTime(value);
  },
  toStartOfInterval(value, interval, zone) {
    requireUtc(zone);
    return startOfInterval(value, interval);
  },
  formatDateTime(value, pattern, zone) {
    requireUtc(zone);
    return formatDateTime(value, pattern);
  },
  floor: scaled(Math.floor),
  ceil: scaled(Math.ceil),
  format,
};

/** From 1, in characters; 0 if it is not there. */
function indexOf(needle: Value, haystack: Value): number {
  const at = String(haystack).indexOf(String(needle));
  return at < 0 ? 0 : [...String(haystack).slice(0, at)].length + 1;
}

function toBits(value: Value): bigint {
  return BigInt(Math.trunc(Number(value)));
}

interface Weighted {
  level: number;
  values: [value: number, weight: number][];
}

/** The value at which the level's share of all weights is reached. */
function quantile({ level, values }: Weighted): Value {
  if (values.length === 0) return null;
  values.sort((a, b) => a[0] - b[0]);
  const reached = level * values.reduce((sum, [, weight]) => sum + weight, 0);
  let sum = 0;
  for (const [value, weight] of values) {
    sum += weight;
    if (sum >= reached) return value;
  }
  return values.at(-1)![0];
}

const weightedQuantile = {
  start: (): Weighted => ({ level: 0, values: [] }),
  step(state: Weighted, level: Value, value: Value, weight: Value): Weighted {
    const given = Number(level);
    if (!(given >= 0 && given <= 1)) throw new QueryError('The level of a quantile lies between 0 and 1.');
    state.level = given;
    if (value !== null && Number(weight) > 0) state.values.push([Number(value), Number(weight)]);
    return state;
  },
  result: quantile,
};

interface Best {
  value: Value;
  by: Value;
}

function argBest(isBetter: (a: Value, b: Value) => boolean) {
  return {
    start: (): Best => ({ value: null, by: null }),
    step: (best: Best, value: Value, by: Value): Best =>
      by !== null && (best.by === null || isBetter(by, best.by)) ? { value, by } : best,
    result: ({ value }: Best): Value => value,
  };
}

const isTrue = (condition: Value) => condition !== null && Number(condition) !== 0;
const AGGREGATES: Record<
  string,
  { start(): any; step(state: any, ...values: Value[]): any; result(state: any): Value }
> = {
  quantileExactWeighted: weightedQuantile,
  quantileWeighted: weightedQuantile,
  countIf: {
    start: () => 0n,
    step: (count: bigint, condition: Value) => (isTrue(condition) ? count + 1n : count),
    result: (count: bigint) => count,
  },
  sumIf: {
    start: () => 0,
    step: (sum: number, value: Value, condition: Value) => (isTrue(condition) ? sum + Number(value) : sum),
    result: (sum: number) => sum,
  },
  avgIf: {
    start: () => ({ sum: 0, count: 0 }),
    step: (state: { sum: number; count: number }, value: Value, condition: Value) =>
      isTrue(condition) && value !== null ? { sum: state.sum + Number(value), count: state.count + 1 } : state,
    result: ({ sum, count }: { sum: number; count: number }) => (count > 0 ? sum / count : null),
  },
  argMax: argBest((a, b) => a! > b!),
  argMin: argBest((a, b) => a! < b!),
  first_value: {
    start: () => [],
    step: (state: Value[], value: Value) => (state.length > 0 ? state : [value]),
    result: ([value]: Value[]) => value ?? null,
  },
  last_value: {
    start: () => null,
    step: (_: Value, value: Value) => value,
    result: (value: Value) => value,
  },
};

/** Adds the functions to a connection. `now`: milliseconds since 1970, for the whole query. Returns the names that a query may call, in lower case. */
export function addFunctions(db: DatabaseSync, now: number): Set<string> {
  const fixed: typeof FUNCTIONS = {
    ...FUNCTIONS,
    now: () => dateTimeText(now),
    today: () => dateTimeText(now).slice(0, 10),
  };
  for (const [name, call] of Object.entries(fixed)) db.function(name, { deterministic: true }, call);
  for (const [name, call] of Object.entries(VARIABLE)) db.function(name, { deterministic: true, varargs: true }, call);
  for (const [name, aggregate] of Object.entries(AGGREGATES)) db.aggregate(name, aggregate as never);
  const added = [fixed, VARIABLE, AGGREGATES].flatMap(Object.keys);
  return new Set([...BUILT_IN, ...added].map((name) => name.toLowerCase()));
}
