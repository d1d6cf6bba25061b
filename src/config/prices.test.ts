import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEFAULT_RULE } from '../model/compare-versions.ts';
import { readPrices } from './prices.ts';
import { Rollout } from './rollout.ts';

describe('a price sheet', () => {
  it('has prices as numbers or as text', () => {
    const sheet = { currency: 'EUR', base_monthly: 5, per_gb_egress: '0.0100', included: { egress_gb: 10 } };
    assert.deepEqual(readPrices(JSON.stringify(sheet)), sheet);
  });

  for (const [name, text, message] of [
    ['no JSON', 'EUR', /no JSON/],
    ['no currency', '{}', /currency/],
    ['an unknown currency', '{"currency":"euro"}', /currency: .*three letters/],
    ['a negative price', '{"currency":"EUR","per_gb_egress":-1}', /per_gb_egress: -1 is no price/],
    ['a price that is no number', '{"currency":"EUR","base_monthly":"free"}', /base_monthly: free is no price/],
    ['a name that is not known', '{"currency":"EUR","per_request":1}', /per_request/],
    ['a free amount that is not known', '{"currency":"EUR","included":{"gb":1}}', /included: .*gb/],
  ] as const) {
    it(`with ${name} is refused, and it is said why`, () => {
      assert.throws(() => readPrices(text), message);
    });
  }
});

it('without a word in the configuration the rule of roll-back has its defaults', () => {
  assert.deepEqual(Rollout.parse(undefined), DEFAULT_RULE);
});
