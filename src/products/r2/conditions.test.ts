import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Conditions, conditionsOf, evaluate } from './conditions.ts';
import type { StoredObject } from './documents.ts';
import type { R2Error } from './limits.ts';

/** Uploaded half a second into its second. */
const UPLOADED = Date.UTC(2026, 10, 21, 8, 45, 0, 500);
const object: StoredObject = {
  http: {},
  custom: [],
  storageClass: 'Standard',
  version: '',
  size: 1,
  etag: 'abc',
  uploaded: UPLOADED,
  checksums: {},
  body: null,
};
const date = (seconds: number) => new Date(UPLOADED + seconds * 1000).toUTCString();
const says = (headers: Record<string, string>, of: StoredObject | null = object) => evaluate(conditionsOf(headers), of);

describe('conditions of HTTP', () => {
  it('compare ETags: with quotes or without, several, any; If-Match strongly, If-None-Match weakly', () => {
    for (const tag of ['"abc"', 'abc', '"x", "abc"', ' "x" ,"abc" ', '*']) {
      assert.equal(says({ 'if-match': tag }), 'ok', tag);
      assert.equal(says({ 'if-none-match': tag }), 'unchanged', tag);
    }
    for (const tag of ['"ABC"', '"abcd"', '"x", "y"', '"*"']) {
      assert.equal(says({ 'if-match': tag }), 'failed', tag);
      assert.equal(says({ 'if-none-match': tag }), 'ok', tag);
    }
    assert.equal(says({ 'if-match': 'W/"abc"' }), 'failed');
    assert.equal(says({ 'if-none-match': 'W/"abc"' }), 'unchanged');
  });

  it('compare times in whole seconds, and leave out what is no date', () => {
    assert.equal(says({ 'if-unmodified-since': date(0) }), 'ok');
    assert.equal(says({ 'if-unmodified-since': date(-1) }), 'failed');
    assert.equal(says({ 'if-modified-since': date(0) }), 'unchanged');
    assert.equal(says({ 'if-modified-since': date(-1) }), 'ok');
    assert.equal(says({ 'if-unmodified-since': 'yesterday', 'if-modified-since': '' }), 'ok');
    assert.equal(conditionsOf({ 'if-modified-since': 'never' }), undefined);
  });

  it('let an ETag go before a time (RFC 9110 section 13.2.2)', () => {
    assert.equal(says({ 'if-match': '"abc"', 'if-unmodified-since': date(-9) }), 'ok');
    assert.equal(says({ 'if-match': '"x"', 'if-unmodified-since': date(9) }), 'failed');
    assert.equal(says({ 'if-none-match': '"x"', 'if-modified-since': date(9) }), 'ok');
    assert.equal(says({ 'if-none-match': '"abc"', 'if-modified-since': date(-9) }), 'unchanged');
    assert.equal(says({ 'if-match': '"x"', 'if-none-match': '"abc"' }), 'failed');
  });

  it('of what is not there: it matches nothing and was not modified', () => {
    assert.equal(says({ 'if-match': '*' }, null), 'failed');
    assert.equal(says({ 'if-modified-since': date(-9) }, null), 'failed');
    assert.equal(says({ 'if-none-match': '*' }, null), 'ok');
    assert.equal(says({ 'if-unmodified-since': date(-9) }, null), 'ok');
    assert.equal(says({}, null), 'ok');
  });

  it('of a copy’s source have a prefix', () => {
    const headers = { 'x-amz-copy-source-if-match': '"x"', 'if-match': '"abc"' };
    assert.equal(evaluate(conditionsOf(headers, 'x-amz-copy-source-'), object), 'failed');
    assert.equal(says(headers), 'ok');
  });

  it('that are no list of ETags are refused', () => {
    for (const tag of ['', '"a" "b"', '"a",', '"a']) {
      assert.throws(
        () => conditionsOf({ 'if-match': tag }),
        (error: R2Error) => error.error === 'InvalidArgument',
        tag,
      );
    }
  });
});

describe('conditions of a binding', () => {
  it('compare moments to the millisecond, unless seconds are asked for', () => {
    const cases: [Conditions, string][] = [
      [{ uploadedBefore: UPLOADED }, 'failed'],
      [{ uploadedBefore: UPLOADED + 1 }, 'ok'],
      [{ uploadedAfter: UPLOADED }, 'unchanged'],
      [{ uploadedAfter: UPLOADED - 1 }, 'ok'],
      [{ uploadedBefore: UPLOADED - 500, secondsGranularity: true }, 'ok'],
      [{ uploadedAfter: UPLOADED - 500, secondsGranularity: true }, 'unchanged'],
      [{}, 'ok'],
    ];
    for (const [conditions, expected] of cases) {
      assert.equal(evaluate(conditions, object), expected, JSON.stringify(conditions));
    }
  });
});
