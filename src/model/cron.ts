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

function parse(expression: string): Cron {
  // Paused: it only calculates.
  return new Cron(expression, { timezone: 'UTC', paused: true, alternativeWeekdays: true, mode: '5-part' });
}
