import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { R2Error } from './limits.ts';
import { parseRange, rangeOf } from './ranges.ts';

const unsatisfiable = (error: R2Error) => error.error === 'InvalidRange' && error.status === 416;

describe('a range of a binding', () => {
  it('is what a slice is', () => {
    const optional = fc.option(fc.nat({ max: 30 }), { nil: undefined });
    fc.assert(
      fc.property(fc.nat({ max: 20 }), optional, optional, (size, offset, length) => {
        const asked = { ...(offset !== undefined && { offset }), ...(length !== undefined && { length }) };
        const bytes = Array.from({ length: size }, (_, i) => i);
        const wanted = bytes.slice(offset ?? 0, length === undefined ? undefined : (offset ?? 0) + length);
        if (offset === undefined && length === undefined) assert.equal(rangeOf(asked, size), null);
        else if (wanted.length === 0) assert.throws(() => rangeOf(asked, size), unsatisfiable);
        else assert.deepEqual(rangeOf(asked, size), { start: wanted[0], end: wanted.at(-1) });
      }),
      { numRuns: 1_000 },
    );
  });

  it('from the end has at least one byte, and at most all', () => {
    assert.deepEqual(rangeOf({ suffix: 3 }, 10), { start: 7, end: 9 });
    assert.deepEqual(rangeOf({ suffix: 30 }, 10), { start: 0, end: 9 });
    assert.equal(rangeOf({ suffix: 3 }, 0), null);
    for (const suffix of [0, -1, Number.NaN]) assert.throws(() => rangeOf({ suffix }, 10), unsatisfiable);
  });
});

describe('the field Range', () => {
  it('names one range of bytes', () => {
    for (const [field, start, end] of [
      ['bytes=0-0', 0, 0],
      ['bytes=2-5', 2, 5],
      ['bytes=2-99', 2, 9],
      ['bytes=9-', 9, 9],
      ['bytes=-4', 6, 9],
      ['bytes=-99', 0, 9],
      [' Bytes = 1 - 2 ', 1, 2],
      ['bytes=0-9007199254740993', 0, 9],
    ] as const) {
      assert.deepEqual(parseRange(field, 10), { start, end }, field);
    }
  });

  it('is left out where it is of another form, of several ranges, or the wrong way round', () => {
    for (const field of [
      undefined,
      '',
      'bytes=',
      'bytes=-',
      'bytes=1-2,4-5',
      'bytes=a-b',
      'lines=1-2',
      'bytes=5-2',
      'bytes=1.5-2',
    ]) {
      assert.equal(parseRange(field, 10), null, field);
    }
  });

  it('cannot be served behind the end', () => {
    for (const field of ['bytes=10-', 'bytes=10-12', 'bytes=-0', 'bytes=9999999999999999-']) {
      assert.throws(() => parseRange(field, 10), unsatisfiable, field);
    }
    assert.throws(() => parseRange('bytes=0-0', 0), unsatisfiable);
  });
});
