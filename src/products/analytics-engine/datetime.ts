/** Datetimes of queries: texts "2026-11-20 16:17:00" (DateTime) and "2026-11-20" (Date), always in UTC. */
import { QueryError } from './tokens.ts';

const SECOND = 1000;
const FIXED: Record<string, number> = {
  SECOND,
  MINUTE: 60 * SECOND,
  HOUR: 3600 * SECOND,
  DAY: 86_400 * SECOND,
  WEEK: 7 * 86_400 * SECOND,
};
/** 1970-01-05, the first Monday. */
const MONDAY = 4 * 86_400 * SECOND;
const FORM = /^(\d{4})-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d))?$/;

/** Milliseconds since 1970 of a datetime or date. Throws QueryError for what is neither. */
export function millisOf(value: unknown): number {
  const parts = typeof value === 'string' ? FORM.exec(value) : null;
  if (!parts) throw new QueryError(`${shown(value)} is not a datetime: toDateTime() makes one.`);
  const [year, month, day, hour = 0, minute = 0, second = 0] = parts.slice(1).map((part) => Number(part ?? 0));
  return Date.UTC(year!, month! - 1, day, hour, minute, second);
}

export function dateTimeText(millis: number): string {
  const date = new Date(millis);
  if (Number.isNaN(date.getTime()) || date.getUTCFullYear() < 0 || date.getUTCFullYear() > 9999) {
    throw new QueryError('A datetime lies between the years 0 and 9999.');
  }
  return date.toISOString().slice(0, 19).replace('T', ' ');
}

/** From seconds since 1970, as a number or its text, or from a datetime's text. */
export function toDateTime(value: unknown): string {
  if (typeof value === 'string' && FORM.test(value)) return dateTimeText(millisOf(value));
  const seconds = value === '' ? Number.NaN : Number(value);
  if (!Number.isFinite(seconds)) throw new QueryError(`${shown(value)} is neither a datetime nor a number of seconds.`);
  return dateTimeText(Math.floor(seconds) * SECOND);
}

/** Seconds since 1970 of a datetime; of anything else null. */
export function secondsOf(value: unknown): number | null {
  return typeof value === 'string' && FORM.test(value) ? millisOf(value) / SECOND : null;
}

/** `interval`: "-15 MINUTE". */
export function addInterval(value: unknown, interval: unknown): string {
  const { count, unit } = intervalOf(interval);
  const millis = millisOf(value);
  const fixed = FIXED[unit];
  if (fixed) return dateTimeText(millis + count * fixed);
  const date = new Date(millis);
  const months = date.getUTCFullYear() * 12 + date.getUTCMonth() + count * (unit === 'YEAR' ? 12 : 1);
  // The last day of a shorter month.
  const days = new Date(Date.UTC(Math.floor(months / 12), (months % 12) + 1, 0)).getUTCDate();
  date.setUTCFullYear(Math.floor(months / 12), months % 12, Math.min(date.getUTCDate(), days));
  return dateTimeText(date.getTime());
}

/** Rounds down to a multiple of the interval. */
export function startOfInterval(value: unknown, interval: unknown): string {
  const { count, unit } = intervalOf(interval);
  if (count <= 0) throw new QueryError('The INTERVAL of toStartOfInterval is 1 at least.');
  const millis = millisOf(value);
  const fixed = FIXED[unit];
  if (fixed) {
    const origin = unit === 'WEEK' ? MONDAY : 0;
    return dateTimeText(Math.floor((millis - origin) / (count * fixed)) * count * fixed + origin);
  }
  const date = new Date(millis);
  const step = count * (unit === 'YEAR' ? 12 : 1);
  const months = Math.floor((date.getUTCFullYear() * 12 + date.getUTCMonth()) / step) * step;
  return dateTimeText(Date.UTC(Math.floor(months / 12), months % 12));
}

/** One number of a datetime; days of the week from 1, Monday. */
export function partOf(value: unknown, part: string): number {
  const date = new Date(millisOf(value));
  switch (part) {
    case 'YEAR':
      return date.getUTCFullYear();
    case 'MONTH':
      return date.getUTCMonth() + 1;
    case 'DAY':
      return date.getUTCDate();
    case 'WEEKDAY':
      return date.getUTCDay() || 7;
    case 'HOUR':
      return date.getUTCHours();
    case 'MINUTE':
      return date.getUTCMinutes();
    case 'SECOND':
      return date.getUTCSeconds();
  }
  throw new QueryError(`${part} is no part of a datetime: YEAR, MONTH, DAY, HOUR, MINUTE and SECOND are.`);
}

/** formatDateTime with the letters of ClickHouse that need no language. */
export function formatDateTime(value: unknown, format: unknown): string {
  const text = toDateTime(value);
  const [year, month, day, hour, minute, second] = text.split(/[- :]/) as [
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  const letters: Record<string, string> = {
    Y: year,
    y: year.slice(2),
    m: month,
    d: day,
    H: hour,
    i: minute,
    M: minute,
    S: second,
    s: second,
    u: String(partOf(text, 'WEEKDAY')),
    F: `${year}-${month}-${day}`,
    T: `${hour}:${minute}:${second}`,
    R: `${hour}:${minute}`,
    '%': '%',
  };
  return String(format).replace(/%(.?)/gs, (_, letter: string) => {
    const written = letters[letter];
    if (written === undefined) throw new QueryError(`%${letter} is not supported by formatDateTime here.`);
    return written;
  });
}

/** Throws QueryError for a time zone: all datetimes are in UTC here. */
export function requireUtc(zone: unknown): void {
  if (zone === undefined || (typeof zone === 'string' && /^(Etc\/)?UTC$/i.test(zone))) return;
  throw new QueryError(`The time zone ${shown(zone)} is not supported: all datetimes are in Etc/UTC.`);
}

function intervalOf(value: unknown): { count: number; unit: string } {
  const [, count, unit] = /^(-?\d+) ([A-Z]+)$/.exec(String(value)) ?? [];
  if (!unit || !(unit in FIXED || unit === 'MONTH' || unit === 'YEAR')) {
    throw new QueryError(`${shown(value)} is not an INTERVAL.`);
  }
  return { count: Number(count), unit };
}

function shown(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}
