/** Which responses the Cache API keeps, and for how long. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Headers, keepable } from './rules.ts';

const ttl = (status: number, headers: Record<string, string>) =>
  keepable('https://example.com/', status, Object.entries(headers) as Headers)?.ttl ?? null;

describe('a response is kept', () => {
  for (const [status, headers, seconds] of [
    [200, { 'cache-control': 'max-age=60' }, 60],
    [200, { 'cache-control': 'public, max-age=60, s-maxage=600' }, 600],
    [200, { 'Cache-Control': 'S-MaxAge=5' }, 5],
    [500, { 'cache-control': 'max-age=60' }, 60],
    [404, { 'cache-control': 'max-age=60' }, 60],
    [200, { 'cache-control': 'max-age=99999999999' }, 31_536_000],
    [200, { 'cache-control': 'max-age=60', vary: 'Accept-Encoding, X-Other' }, 60],
    [200, {}, 7200],
    [301, {}, 7200],
    [302, {}, 1200],
    [404, {}, 180],
    [200, { 'cache-control': 'public' }, 7200],
  ] as [number, Record<string, string>, number][]) {
    it(`${status} ${JSON.stringify(headers)}: ${seconds} s`, () => assert.equal(ttl(status, headers), seconds));
  }

  it('by Expires, against Date', () => {
    const date = new Date();
    const expires = new Date(date.getTime() + 90_000);
    const kept = ttl(200, { date: date.toUTCString(), expires: expires.toUTCString() })!;
    assert.ok(kept > 80 && kept <= 90, String(kept));
  });

  it('without its cookie, if that is said to be private', () => {
    const headers: Headers = [
      ['Set-Cookie', 'a=1'],
      ['Cache-Control', 'private=Set-Cookie, max-age=60'],
      ['X-Kept', '1'],
    ];
    const kept = keepable('https://example.com/', 200, headers)!;
    assert.equal(kept.ttl, 60);
    assert.deepEqual(
      kept.headers.map(([name]) => name),
      ['Cache-Control', 'X-Kept'],
    );
  });
});

describe('a response is not kept', () => {
  for (const [status, headers] of [
    [200, { 'cache-control': 'no-store' }],
    [200, { 'cache-control': 'private, max-age=60' }],
    [200, { 'cache-control': 'no-cache' }],
    [200, { 'cache-control': 'max-age=0' }],
    [200, { 'cache-control': 'max-age=60, no-store' }],
    [200, { 'set-cookie': 'a=1' }],
    [200, { 'set-cookie': 'a=1', 'cache-control': 'public, max-age=60' }],
    [200, { expires: '0' }],
    [200, { expires: 'Thu, 01 Jan 1970 00:00:00 GMT' }],
    [206, { 'cache-control': 'max-age=60' }],
    [304, { 'cache-control': 'max-age=60' }],
    [101, { 'cache-control': 'max-age=60' }],
    [500, {}],
    [403, {}],
  ] as [number, Record<string, string>][]) {
    it(`${status} ${JSON.stringify(headers)}`, () => assert.equal(ttl(status, headers), null));
  }
});
