/**
 * Cron expressions as Cloudflare takes them: five fields in UTC, weekdays 1 (Sunday) to 7 (Saturday) or by name, with `L`, `W` and `#`.
 * https://developers.cloudflare.com/workers/configuration/cron-triggers/#supported-cron-expressions
 */
import { Cron } from 'croner';

/** Null if the expression is valid, else why not. */
export function cronError(expression: string): string | null {
  if (expression.trim().split(/\s+/).length !== 5)
    return 'five fields are expected: minute, hour, day of month, month, weekday';
  const weekday = expression.trim().split(/\s+/)[4]!;
  if (/(?<![#/\d])(0|[89]|\d\d+)/.test(weekday)) return 'weekdays are 1 (Sunday) to 7 (Saturday)';
  try {
    const cron = parse(expression);
    return cron.nextRun() ? null : 'it never comes due';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** The first time after `after` at which the expression is due; null if there is none. Throws for an invalid expression. */
export function nextRun(expression: string, after: Date): Date | null {
  return parse(expression).nextRun(after);
}

/** How often the expression came due after `from` and not after `to`, at most `most` times, and when last. Throws for an invalid one. */
export function dueBetween(
  expression: string,
  from: Date,
  to: Date,
  most: number,
): { count: number; last: Date | null } {
  const cron = parse(expression);
  let count = 0;
  let last: Date | null = null;
  for (let due = cron.nextRun(from); due && due <= to && count < most; due = cron.nextRun(due)) {
    count++;
    last = due;
  }
  return { count, last };
}

function parse(expression: string): Cron {
  // Paused: it only calculates.
  return new Cron(expression, { timezone: 'UTC', paused: true, alternativeWeekdays: true, mode: '5-part' });
}
