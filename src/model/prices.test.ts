import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bill, minorUnitDigits, type PriceSheet, parseDecimal } from './prices.ts';
import type { UsageCounts } from './usage.ts';

const usage = (part: Partial<UsageCounts>): UsageCounts => ({
  requests: 0,
  errors: 0,
  cpuMs: 0,
  subrequests: 0,
  egressBytes: 0,
  ingressBytes: 0,
  durationMs: 0,
  ...part,
});
const billOf = (part: Partial<UsageCounts>, prices: Partial<PriceSheet>) =>
  bill('a1', '2026-11', usage(part), { currency: 'EUR', ...prices });

describe('a bill', () => {
  it('has the base price, and each item that has a price', () => {
    const made = bill(
      'a1',
      '2026-11',
      usage({
        requests: 12_500_000,
        cpuMs: 41_000_000.5,
        subrequests: 3_000_000,
        egressBytes: 7_250_000_000,
        durationMs: 8_000_000,
      }),
      {
        currency: 'EUR',
        base_monthly: 5,
        per_million_requests: 0.3,
        per_million_cpu_ms: '0.02',
        per_million_subrequests: 0.1,
        per_gb_egress: 0.01,
        per_gb_second: '0.0000125',
        included: { requests: 10_000_000, cpu_ms: 30_000_000, egress_gb: 7.25, gb_seconds: 1000 },
      },
    );
    assert.deepEqual(
      made.lines.map(({ item, used, included, billed, price, per, amount }) =>
        [item, used, included, billed, price, per, amount].join(' '),
      ),
      [
        'base_monthly 1 0 1 5 1 5.000000',
        'requests 12500000 10000000 2500000 0.3 1000000 0.750000',
        'cpu_ms 41000000.5 30000000 11000000.5 0.02 1000000 0.220000',
        'subrequests 3000000 0 3000000 0.1 1000000 0.300000',
        'egress_gb 7.25 7.25 0 0.01 1 0.000000',
        // 8,000 s with 0.128 GB are 1,024 GB-s.
        'gb_seconds 1024 1000 24 0.0000125 1 0.000300',
      ],
    );
    assert.deepEqual(
      [made.account_id, made.month, made.currency, made.total, made.due],
      ['a1', '2026-11', 'EUR', '6.270300', '6.27'],
    );
  });

  it('has no line for an item without a price, and is 0 without usage', () => {
    const made = billOf({ requests: 5, egressBytes: 10 }, { per_gb_egress: 1 });
    assert.deepEqual(
      made.lines.map(({ item }) => item),
      ['egress_gb'],
    );
    assert.equal(billOf({}, { per_million_requests: 1 }).due, '0.00');
  });

  it('is not less than nothing when less is used than is included', () => {
    const made = billOf({ requests: 5 }, { per_million_requests: 1, included: { requests: 1000 } });
    assert.deepEqual([made.lines[0]!.billed, made.total], ['0', '0.000000']);
  });

  it('rounds a line half up to a millionth', () => {
    // One request at 0.5 a million is half a millionth; at 0.499999 it is less.
    assert.equal(billOf({ requests: 1 }, { per_million_requests: 0.5 }).total, '0.000001');
    assert.equal(billOf({ requests: 1 }, { per_million_requests: 0.499999 }).total, '0.000000');
    assert.equal(billOf({ requests: 3 }, { per_million_requests: 0.5 }).total, '0.000002');
  });

  it('rounds what is due half up to the minor unit of the currency, from the total and not from the lines', () => {
    const due = (amount: string, currency = 'EUR') => billOf({}, { base_monthly: amount, currency }).due;
    assert.equal(due('1.005'), '1.01');
    assert.equal(due('1.004999'), '1.00');
    assert.equal(due('1.5', 'JPY'), '2');
    assert.equal(due('1.49', 'JPY'), '1');
    assert.equal(due('1.0005', 'KWD'), '1.001');
    // Two lines of 0.004 make 0.008, which is 0.01; each alone would be 0.00.
    const two = billOf(
      { requests: 1, subrequests: 1 },
      { per_million_requests: 4000, per_million_subrequests: '4000' },
    );
    assert.equal(two.due, '0.01');
  });

  it('is exact where floating point is not', () => {
    // 0.1 + 0.2, and a number of bytes whose product with the price has more digits than a double.
    assert.equal(
      billOf(
        { requests: 1_000_000, subrequests: 1_000_000 },
        { per_million_requests: 0.1, per_million_subrequests: 0.2 },
      ).total,
      '0.300000',
    );
    const made = billOf({ egressBytes: 9_007_199_254_740_991 }, { per_gb_egress: '0.123456789' });
    // 9007199.254740991 x 0.123456789 = 1111999.897881...
    const expected = (9_007_199_254_740_991n * 123_456_789n * 1_000_000n * 2n + 10n ** 18n) / (2n * 10n ** 18n);
    assert.equal(made.total.replace('.', ''), String(expected));
  });

  it('is the sum of its lines for any usage', () => {
    let seed = 7;
    const random = (max: number) => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return Math.floor((seed / 2 ** 31) * max);
    };
    for (let i = 0; i < 500; i++) {
      const made = billOf(
        { requests: random(1e9), cpuMs: random(1e9) / 1000, subrequests: random(1e8), egressBytes: random(1e12) },
        {
          per_million_requests: random(1000) / 1000,
          per_million_cpu_ms: random(1000) / 1e4,
          per_million_subrequests: 0.07,
          per_gb_egress: random(100) / 1000,
        },
      );
      const micros = (text: string) => BigInt(text.replace('.', ''));
      assert.equal(
        micros(made.total),
        made.lines.reduce((sum, { amount }) => sum + micros(amount), 0n),
      );
      assert.ok(Math.abs(Number(made.due) - Number(made.total)) <= 0.005 + 1e-9);
    }
  });
});

describe('prices', () => {
  it('are decimals, as number or text, also with an exponent', () => {
    assert.deepEqual(parseDecimal(0.3), { digits: 3n, scale: 1 });
    assert.deepEqual(parseDecimal('12.50'), { digits: 1250n, scale: 2 });
    assert.deepEqual(parseDecimal(1e-7), { digits: 1n, scale: 7 });
    assert.deepEqual(parseDecimal('2e3'), { digits: 2000n, scale: 0 });
  });

  it('are refused when they are none', () => {
    for (const value of ['', '-1', -0.5, 'free', '1,5', '1e-30', Number.NaN, Number.POSITIVE_INFINITY, '0x10']) {
      assert.throws(() => parseDecimal(value), RangeError, String(value));
    }
  });

  it('are in a currency of ISO 4217', () => {
    assert.deepEqual(['EUR', 'JPY', 'KWD'].map(minorUnitDigits), [2, 0, 3]);
    assert.throws(() => minorUnitDigits('euro'), RangeError);
  });
});
