/** Parsers of option values: each returns the value or throws one sentence that says what is taken. */
import { isIP } from 'node:net';
import { InvalidArgumentError } from 'commander';
import { createAddresses } from '../data/addresses.ts';

/** One node process each: more than this is a slip of the finger. */
const MAX_PROCESSES = 256;

export function port(text: string): number {
  return integer(text, 0, 65_535, 'A port is a number from 0 to 65535.');
}

export function processes(text: string): number {
  return integer(text, 1, MAX_PROCESSES, `A number from 1 to ${MAX_PROCESSES} is needed.`);
}

export function spares(text: string): number {
  return integer(text, 0, MAX_PROCESSES, `A number from 0 to ${MAX_PROCESSES} is needed.`);
}

export function megabytes(text: string): number {
  return integer(text, 1, Number.MAX_SAFE_INTEGER, 'A whole number of megabytes is needed.');
}

/** An IP address; no host names, which may mean several. */
export function address(text: string): string {
  if (!isIP(text)) throw new InvalidArgumentError('An IP address is needed, such as 127.0.0.1 or 0.0.0.0.');
  return text;
}

/** Collects addresses of a repeatable option. */
export function addresses(text: string, before: string[] = []): string[] {
  return [...before, address(text)];
}

/** RFC 1123 labels, lower case. It must leave room for <version>-<worker>.<subdomain>. before it. */
export function domain(text: string): string {
  const name = text.toLowerCase();
  if (!/^(?=.{1,120}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/.test(name)) {
    throw new InvalidArgumentError('A domain name is needed, such as workers.example.com.');
  }
  return name;
}

/** Stands at the end of CF-Ray, in upper case. */
export function coloCode(text: string): string {
  if (!/^[a-z][a-z0-9]{2,15}$/i.test(text)) throw new InvalidArgumentError('A code has 3 to 16 letters and digits.');
  return text.toLowerCase();
}

/** Collects CIDRs of a repeatable option. */
export function cidrs(text: string, before: string[] = []): string[] {
  try {
    createAddresses([text]);
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
  }
  return [...before, text];
}

/** YYYY-MM-DD. */
export function day(text: string): string {
  if (!/^\d{4}-\d\d-\d\d$/.test(text) || Number.isNaN(Date.parse(text))) {
    throw new InvalidArgumentError('A day is written YYYY-MM-DD.');
  }
  return text;
}

/** YYYY-MM. */
export function month(text: string): string {
  if (!/^\d{4}-(0[1-9]|1[0-2])$/.test(text)) throw new InvalidArgumentError('A month is written YYYY-MM.');
  return text;
}

/** "1,10,50,100": rising percentages. */
export function percentages(text: string): number[] {
  const values = text.split(',').map(Number);
  const rising = values.every((value, i) => value > (values[i - 1] ?? 0) && value <= 100);
  if (!rising) throw new InvalidArgumentError('Rising percentages are needed, such as 1,10,50,100.');
  return values;
}

/** "30s", "5m", "1h" or "2d" -> minutes. */
export function minutes(text: string): number {
  const [, value, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  if (!Number(value)) throw new InvalidArgumentError('A time is a number with its unit, such as 30s, 5m, 1h or 2d.');
  return Number(value) * { s: 1 / 60, m: 1, h: 60, d: 1440 }[unit as 's' | 'm' | 'h' | 'd'];
}

function integer(text: string, min: number, max: number, message: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) throw new InvalidArgumentError(message);
  return value;
}
