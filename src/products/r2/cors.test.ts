import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CorsRules, checkCors, corsHeaders, matchingRule } from './cors.ts';
import type { CorsRule } from './documents.ts';
import type { R2Error } from './limits.ts';

const rule = (allowed: CorsRule['allowed'], more: Partial<CorsRule> = {}): CorsRule => ({ allowed, ...more });
const GET = { origins: ['https://a.example'], methods: ['GET'] };

describe('a CORS rule', () => {
  it('is for an origin as it is written, with one wildcard that stands for any text', () => {
    const allows = (pattern: string, origin: string) =>
      matchingRule([rule({ origins: [pattern], methods: ['GET'] })], { origin, method: 'GET' }) !== null;
    for (const [pattern, origin] of [
      ['*', 'https://a.example'],
      ['*', 'null'],
      ['https://a.example', 'https://a.example'],
      ['https://*.example', 'https://a.b.example'],
      ['https://a*', 'https://a:8443'],
      ['http*://a.example', 'https://a.example'],
    ] as const) {
      assert.ok(allows(pattern, origin), `${pattern} ${origin}`);
    }
    for (const [pattern, origin] of [
      ['https://a.example', 'http://a.example'],
      ['https://a.example', 'https://a.example:8443'],
      ['https://a.example', 'https://a.example.evil'],
      ['https://*.example', 'https://.examplex'],
      ['https://*.example', 'https://example'],
      ['https://aa*aa', 'https://aaa'],
      ['https://a.example', 'https://axexample'],
    ] as const) {
      assert.ok(!allows(pattern, origin), `${pattern} ${origin}`);
    }
  });

  it('is for its methods, and its header fields in any case', () => {
    const rules = [rule({ ...GET, headers: ['Content-Type', 'x-amz-*'] })];
    const asks = (method: string, headers: string[]) =>
      matchingRule(rules, { origin: 'https://a.example', method, headers }) !== null;
    assert.ok(asks('GET', []));
    assert.ok(asks('GET', ['content-type', 'X-Amz-Date']));
    assert.ok(!asks('GET', ['content-type', 'authorization']));
    assert.ok(!asks('PUT', []));
    assert.ok(!asks('get', []));
    assert.equal(matchingRule([rule(GET)], { origin: 'https://a.example', method: 'GET', headers: ['x'] }), null);
  });

  it('is the first that fits', () => {
    const rules = [rule({ origins: ['*'], methods: ['PUT'] }), rule(GET, { id: 'b' }), rule(GET, { id: 'c' })];
    assert.equal(matchingRule(rules, { origin: 'https://a.example', method: 'GET' })!.id, 'b');
    assert.equal(matchingRule([], { origin: 'https://a.example', method: 'GET' }), null);
  });

  it('says in an answer what it lets, to any origin or to one', () => {
    const made = rule(GET, { exposeHeaders: ['ETag', 'x-a'], maxAgeSeconds: 0 });
    assert.deepEqual(corsHeaders(made, 'https://a.example'), {
      'access-control-allow-origin': 'https://a.example',
      vary: 'Origin',
      'access-control-expose-headers': 'ETag, x-a',
    });
    assert.deepEqual(corsHeaders(rule({ origins: ['*'], methods: ['GET', 'PUT'] }), 'https://a.example'), {
      'access-control-allow-origin': '*',
    });
    const preflight = corsHeaders(made, 'https://a.example', { method: 'GET', headers: ['x-a'] });
    assert.deepEqual(
      ['methods', 'headers'].map((name) => preflight[`access-control-allow-${name}`]),
      ['GET', 'x-a'],
    );
    assert.equal(preflight['access-control-max-age'], '0');
  });

  it('is refused above the limits, and where it could never fit', () => {
    const isValid = (rules: unknown) => CorsRules.safeParse(rules).success;
    assert.ok(isValid(Array.from({ length: 100 }, () => rule(GET))));
    assert.ok(!isValid(Array.from({ length: 101 }, () => rule(GET))));
    for (const wrong of [
      rule({ origins: [], methods: ['GET'] }),
      rule({ origins: ['*'], methods: [] }),
      rule({ origins: ['*'], methods: ['PATCH'] }),
      rule(GET, { maxAgeSeconds: 86_401 }),
      rule(GET, { maxAgeSeconds: -1 }),
    ]) {
      assert.ok(!isValid([wrong]), JSON.stringify(wrong));
    }
    assert.throws(
      () => checkCors([rule({ origins: ['https://*.*'], methods: ['GET'] })]),
      (error: R2Error) => error.error === 'InvalidArgument',
    );
  });
});
