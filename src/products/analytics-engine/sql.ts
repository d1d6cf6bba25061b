/**
 * A query in the dialect of Analytics Engine (https://developers.cloudflare.com/analytics/analytics-engine/sql-reference/) as SQLite
 * understands it. The languages are nearly the same; what differs is rewritten word by word, each rule a function below. A DateTime is its
 * text ("2026-11-20 16:17:00"), which compares and sorts as it should; the functions of `functions.ts` take and give it.
 */
import { is, matching, QueryError, type Token, tokenize } from './tokens.ts';

export type Format = 'JSON' | 'JSONEachRow' | 'TabSeparated';
const FORMATS: readonly Format[] = ['JSON', 'JSONEachRow', 'TabSeparated'];

export type Query =
  | { kind: 'tables'; format: Format }
  | { kind: 'timezones'; format: Format }
  /** `names`: all that could be the name of a dataset. */
  | { kind: 'select'; format: Format; sql: string; names: string[] };

const UNITS = ['YEAR', 'MONTH', 'WEEK', 'DAY', 'HOUR', 'MINUTE', 'SECOND'];
/** Words that stand before a parenthesis without being called. */
const NOT_CALLED = [
  'AND',
  'OR',
  'NOT',
  'IN',
  'WHERE',
  'SELECT',
  'BY',
  'HAVING',
  'THEN',
  'ELSE',
  'WHEN',
  'CASE',
  'AS',
  'ON',
];

/** Throws QueryError for what is no query that can be served. */
export function readQuery(text: string): Query {
  const tokens = tokenize(text);
  if (is(tokens.at(-1), ';')) tokens.pop();
  if (tokens.some((token) => is(token, ';'))) throw new QueryError('One statement at a time.');
  const format = takeFormat(tokens);
  if (is(tokens[0], 'SHOW') && tokens.length === 2) {
    if (is(tokens[1], 'TABLES')) return { kind: 'tables', format };
    // All that are supported, and the one in use: the same.
    if (is(tokens[1], 'TIMEZONES', 'TIMEZONE')) return { kind: 'timezones', format };
  }
  if (!is(tokens[0], 'SELECT', 'WITH')) throw new QueryError('Only SELECT and SHOW TABLES are served.');
  const names = tokens.flatMap(({ kind, text }) => (kind === 'word' ? text : kind === 'name' ? unquoted(text) : []));
  const rules = [parameters, positions, extracts, intervals, datetimes, divisions, patterns, limits];
  const rewritten = rules.reduce((before, rule) => rule(before), tokens);
  return { kind: 'select', format, sql: rewritten.map(({ text }) => text).join(' '), names: [...new Set(names)] };
}

function unquoted(text: string): string {
  const quote = text[0]!;
  return text.slice(1, -1).replaceAll(quote + quote, quote);
}

function takeFormat(tokens: Token[]): Format {
  if (!is(tokens.at(-2), 'FORMAT') || tokens.at(-1)!.kind !== 'word') return 'JSON';
  const asked = tokens.at(-1)!.text;
  const format = FORMATS.find((known) => known.toUpperCase() === asked.toUpperCase());
  if (!format) throw new QueryError(`FORMAT ${asked} is not supported: ${FORMATS.join(', ')} are.`);
  tokens.splice(-2);
  return format;
}

const sign = (text: string): Token => ({ kind: 'sign', text });
const word = (text: string): Token => ({ kind: 'word', text });
const string = (text: string): Token => ({ kind: 'string', text: `'${text}'` });

/** quantileExactWeighted(0.5)(double1, _sample_interval): the parameters become the first arguments. */
function parameters(tokens: Token[]): Token[] {
  const out = [...tokens];
  for (let i = 1; i < out.length; i++) {
    if (!is(out[i - 1], ')') || !is(out[i], '(')) continue;
    const called = out[matching(out, i - 1, -1) - 1];
    if (called?.kind === 'word' && !is(called, ...NOT_CALLED)) out.splice(i - 1, 2, sign(','));
  }
  return out;
}

/** position(needle IN haystack) */
function positions(tokens: Token[]): Token[] {
  const out = [...tokens];
  for (let i = 0; i < out.length; i++) {
    if (!is(out[i], 'POSITION') || !is(out[i + 1], '(')) continue;
    const end = matching(out, i + 1);
    for (let j = i + 2; j < end; j++) {
      if (is(out[j], '(')) j = matching(out, j);
      else if (is(out[j], 'IN')) out[j] = sign(',');
    }
  }
  return out;
}

/** extract(SECOND FROM timestamp) */
function extracts(tokens: Token[]): Token[] {
  const out = [...tokens];
  for (let i = 0; i < out.length; i++) {
    if (!is(out[i], 'EXTRACT') || !is(out[i + 1], '(') || !is(out[i + 3], 'FROM')) continue;
    out.splice(i + 2, 2, string(out[i + 2]!.text.toUpperCase()), sign(','));
  }
  return out;
}

/** `timestamp - INTERVAL '1' DAY`, and an INTERVAL as an argument. */
function intervals(tokens: Token[]): Token[] {
  const out = [...tokens];
  for (let i = 0; i < out.length; i++) {
    if (!is(out[i], 'INTERVAL')) continue;
    const [count, unit] = [out[i + 1], out[i + 2]];
    const number = /^'?\s*(\d{1,9})\s*'?$/.exec(count?.text ?? '')?.[1];
    if (number === undefined || !is(unit, ...UNITS)) {
      throw new QueryError(
        `An INTERVAL is a whole number and a unit, as in INTERVAL '15' MINUTE (${UNITS.join(', ')}).`,
      );
    }
    const length = string(`${number} ${unit!.text.toUpperCase()}`);
    if (is(out[i - 1], '+', '-')) {
      const start = operandBefore(out, i - 1);
      const operand = out.slice(start, i - 1);
      const by = string(`${is(out[i - 1], '-') ? '-' : ''}${length.text.slice(1, -1)}`);
      const call = [word('addInterval'), sign('('), ...operand, sign(','), by, sign(')')];
      out.splice(start, i + 3 - start, ...call);
      i = start + call.length - 1;
    } else if (is(out[i - 1], ',')) out.splice(i, 3, length);
    else throw new QueryError('An INTERVAL is added to a datetime, subtracted from one, or an argument of a function.');
  }
  return out;
}

/** Where the operand begins that ends before `end`: a name, a literal, or a call. */
function operandBefore(tokens: Token[], end: number): number {
  let start = end - 1;
  if (start < 0) throw new QueryError('An INTERVAL has nothing to be added to.');
  if (is(tokens[start], ')')) {
    start = matching(tokens, start, -1);
    const called = tokens[start - 1];
    if (called?.kind === 'word' && !is(called, ...NOT_CALLED)) start--;
  }
  while (is(tokens[start - 1], '.')) start -= 2;
  return Math.max(start, 0);
}

/** A datetime is a text here: it compares with numbers as in Analytics Engine, and is not calculated with. */
function datetimes(tokens: Token[]): Token[] {
  const out = [...tokens];
  for (let i = 0; i < out.length; i++) {
    const isCall = is(out[i], 'NOW', 'TODAY') && is(out[i + 1], '(');
    if (!isCall && !(out[i]!.kind === 'word' && out[i]!.text === 'timestamp')) continue;
    const end = isCall ? i + 2 : i;
    if (is(out[end + 1], '+', '-', '*', '/', '%') || is(out[i - 1], '+', '-', '/', '%')) {
      throw new QueryError(
        `${out[i]!.text} is a datetime: use INTERVAL '...' SECOND, or toUnixTimestamp() to calculate with seconds.`,
      );
    }
    if (is(out[end + 1], '<', '>', '<=', '>=', '=', '!=', '<>') && out[end + 2]?.kind === 'number') {
      out.splice(end + 2, 1, word('toDateTime'), sign('('), out[end + 2]!, sign(')'));
    }
  }
  return out;
}

/** Division has a fraction, also of whole numbers. */
function divisions(tokens: Token[]): Token[] {
  const real: Token = { kind: 'number', text: '1.0' };
  return tokens.flatMap((token) => (is(token, '/') ? [sign('*'), real, token] : [token]));
}

/** ILIKE: SQLite calls our `regexp` for its own REGEXP. */
function patterns(tokens: Token[]): Token[] {
  return tokens.map((token) => (is(token, 'ILIKE') ? word('REGEXP') : token));
}

/** LIMIT ALL, and OFFSET without LIMIT. */
function limits(tokens: Token[]): Token[] {
  const out = tokens.filter((token, i) => {
    const isAll = is(token, 'LIMIT') && is(tokens[i + 1], 'ALL');
    return !isAll && !(is(token, 'ALL') && is(tokens[i - 1], 'LIMIT'));
  });
  for (let i = 0; i < out.length; i++) {
    if (!is(out[i], 'OFFSET') || is(out[i - 2], 'LIMIT')) continue;
    out.splice(i, 0, word('LIMIT'), { kind: 'number', text: '-1' });
    i += 2;
  }
  return out;
}
