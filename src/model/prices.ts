/**
 * A price sheet, and the bill that it makes of a month's usage. All arithmetic is in whole numbers (BigInt), so a bill can be checked by hand:
 * a line's amount is rounded once, half up, to a millionth of the currency unit; the total is the sum of the rounded lines; what is due is
 * the total rounded once more, half up, to the currency's minor unit (cents, whole yen).
 */
import type { UsageCounts } from './usage.ts';

/** A decimal that is not negative, at most 18 decimals; as a number it means the digits that were written in the configuration. */
export type Decimal = number | string;

/** `prices` of the configuration. What has no price costs nothing. GB is 10^9 bytes. */
export interface PriceSheet {
  /** ISO 4217, such as EUR. */
  currency: string;
  /** Per account and month, used or not. */
  base_monthly?: Decimal | undefined;
  per_million_requests?: Decimal | undefined;
  per_million_cpu_ms?: Decimal | undefined;
  per_million_subrequests?: Decimal | undefined;
  per_gb_egress?: Decimal | undefined;
  /** Duration of requests times 128 MB, the memory that a Worker may have, whatever it used of it. */
  per_gb_second?: Decimal | undefined;
  /** Per account and month, free. */
  included?:
    | {
        requests?: Decimal | undefined;
        cpu_ms?: Decimal | undefined;
        subrequests?: Decimal | undefined;
        egress_gb?: Decimal | undefined;
        gb_seconds?: Decimal | undefined;
      }
    | undefined;
}

/** Quantities and amounts are exact decimals, hence strings. */
export interface BillLine {
  item: 'base_monthly' | 'requests' | 'cpu_ms' | 'subrequests' | 'egress_gb' | 'gb_seconds';
  used: string;
  included: string;
  /** `used` - `included`, not below 0. */
  billed: string;
  price: string;
  /** How many of the item the price is for. */
  per: string;
  /** Six decimals. */
  amount: string;
}

export interface Bill {
  account_id: string;
  /** YYYY-MM, in UTC. */
  month: string;
  currency: string;
  lines: BillLine[];
  /** Six decimals. */
  total: string;
  /** In the currency's minor unit. */
  due: string;
}

const MICRO_DIGITS = 6;
const MAX_DECIMALS = 18;
/** MB that a second of a request's duration is counted with. */
const DURATION_MB = 128n;

/** How an item is counted: `used` in base units, and how many of them make one and the priced unit. */
const ITEMS = [
  {
    item: 'requests',
    price: 'per_million_requests',
    used: (usage: UsageCounts) => BigInt(usage.requests),
    digits: 0,
    per: 1_000_000n,
  },
  {
    item: 'cpu_ms',
    price: 'per_million_cpu_ms',
    used: (usage: UsageCounts) => BigInt(Math.round(usage.cpuMs * 1000)),
    digits: 3,
    per: 1_000_000n,
  },
  {
    item: 'subrequests',
    price: 'per_million_subrequests',
    used: (usage: UsageCounts) => BigInt(usage.subrequests),
    digits: 0,
    per: 1_000_000n,
  },
  {
    item: 'egress_gb',
    price: 'per_gb_egress',
    used: (usage: UsageCounts) => BigInt(usage.egressBytes),
    digits: 9,
    per: 1n,
  },
  {
    item: 'gb_seconds',
    price: 'per_gb_second',
    used: (usage: UsageCounts) => BigInt(usage.durationMs) * DURATION_MB,
    digits: 6,
    per: 1n,
  },
] as const;

/** The bill of one account for one month's usage. Throws RangeError for a sheet that is not valid. */
export function bill(accountId: string, month: string, usage: UsageCounts, prices: PriceSheet): Bill {
  const minorDigits = minorUnitDigits(prices.currency);
  const lines: { line: BillLine; micros: bigint }[] = [];
  if (prices.base_monthly !== undefined) {
    const price = parseDecimal(prices.base_monthly);
    lines.push(lineOf('base_monthly', { used: 1n, included: 0n, digits: 0, price, per: 1n }));
  }
  for (const { item, price: name, used, digits, per } of ITEMS) {
    const value = prices[name];
    if (value === undefined) continue;
    const free = parseDecimal(prices.included?.[item] ?? 0);
    // Less than a base unit (a byte, a microsecond) cannot be free.
    const included = (free.digits * 10n ** BigInt(digits)) / 10n ** BigInt(free.scale);
    lines.push(lineOf(item, { used: used(usage), included, digits, price: parseDecimal(value), per }));
  }
  const total = lines.reduce((sum, { micros }) => sum + micros, 0n);
  const minor = divideHalfUp(total * 10n ** BigInt(minorDigits), 10n ** BigInt(MICRO_DIGITS));
  return {
    account_id: accountId,
    month,
    currency: prices.currency,
    lines: lines.map(({ line }) => line),
    total: show(total, MICRO_DIGITS, MICRO_DIGITS),
    due: show(minor, minorDigits, minorDigits),
  };
}

interface Counted {
  used: bigint;
  included: bigint;
  /** Decimals of `used` and `included`. */
  digits: number;
  price: { digits: bigint; scale: number };
  per: bigint;
}

function lineOf(item: BillLine['item'], { used, included, digits, price, per }: Counted) {
  const billed = used > included ? used - included : 0n;
  const micros = divideHalfUp(
    billed * price.digits * 10n ** BigInt(MICRO_DIGITS),
    per * 10n ** BigInt(digits + price.scale),
  );
  const line: BillLine = {
    item,
    used: show(used, digits),
    included: show(included, digits),
    billed: show(billed, digits),
    price: show(price.digits, price.scale),
    per: String(per),
    amount: show(micros, MICRO_DIGITS, MICRO_DIGITS),
  };
  return { line, micros };
}

/** Digits and how many of them are decimals. Throws RangeError. */
export function parseDecimal(value: Decimal): { digits: bigint; scale: number } {
  const parts = /^(\d{1,18})(?:\.(\d{1,18}))?(?:e([+-]?\d{1,2}))?$/i.exec(String(value));
  const scale = parts ? (parts[2]?.length ?? 0) - Number(parts[3] ?? 0) : 0;
  if (!parts || scale > MAX_DECIMALS) {
    throw new RangeError(
      `${value} is no price: a decimal such as 0.30, not negative, at most ${MAX_DECIMALS} decimals`,
    );
  }
  const digits = BigInt(parts[1]! + (parts[2] ?? ''));
  return scale < 0 ? { digits: digits * 10n ** BigInt(-scale), scale: 0 } : { digits, scale };
}

/** Decimals of a currency's minor unit, by ISO 4217. Throws RangeError for what is no code. */
export function minorUnitDigits(currency: string): number {
  if (!/^[A-Z]{3}$/.test(currency)) throw new RangeError(`${currency} is no currency: three letters such as EUR`);
  return new Intl.NumberFormat('en', { style: 'currency', currency }).resolvedOptions().maximumFractionDigits ?? 2;
}

/** a/b for what is not negative; exactly half goes up. */
function divideHalfUp(a: bigint, b: bigint): bigint {
  return (2n * a + b) / (2n * b);
}

/** 1234567n with 6 digits -> "1.234567"; zeros at the end stay up to `least` decimals. */
function show(value: bigint, digits: number, least = 0): string {
  const text = value.toString().padStart(digits + 1, '0');
  let decimals = text.slice(text.length - digits);
  if (digits === 0) return text;
  while (decimals.length > least && decimals.endsWith('0')) decimals = decimals.slice(0, -1);
  const whole = text.slice(0, text.length - digits);
  return decimals === '' ? whole : `${whole}.${decimals}`;
}
