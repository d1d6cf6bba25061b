import assert from 'node:assert/strict';
import { it } from 'node:test';
import { parseExpiry } from './token.ts';

const now = Date.parse('2026-11-20T12:00:00Z');

it('an expiry is a span or a date', () => {
  assert.equal(parseExpiry('30d', now), '2026-12-20T12:00:00.000Z');
  assert.equal(parseExpiry('12h', now), '2026-11-21T00:00:00.000Z');
  assert.equal(parseExpiry('2027-01-31', now), '2027-01-31T00:00:00.000Z');
});

it('anything else is refused', () => {
  for (const text of ['soon', '', '-1d', '1.5d', '999999d'])
    assert.throws(() => parseExpiry(text, now), /neither a span/);
  for (const text of ['0d', '2020-01-01']) assert.throws(() => parseExpiry(text, now), /in the past/);
});
