import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cronError, dueBetween, nextRun } from './cron.ts';

// A Friday.
const after = new Date('2026-11-20T12:00:30Z');

describe('cron expressions', () => {
  for (const [expression, due] of [
    ['* * * * *', '2026-11-20T12:01:00.000Z'],
    ['*/5 * * * *', '2026-11-20T12:05:00.000Z'],
    ['0 17 * * sun', '2026-11-22T17:00:00.000Z'],
    ['0 17 * * 1', '2026-11-22T17:00:00.000Z'],
    ['10 7 * * mon-fri', '2026-11-23T07:10:00.000Z'],
    ['10 7 * * 2-6', '2026-11-23T07:10:00.000Z'],
    ['0 15 1 * *', '2026-12-01T15:00:00.000Z'],
    ['59 23 LW * *', '2026-11-30T23:59:00.000Z'],
    ['0 18 * * 6L', '2026-11-27T18:00:00.000Z'],
  ] as const) {
    it(`${expression} is due next at ${due}`, () => assert.equal(nextRun(expression, after)?.toISOString(), due));
  }

  it('are never due twice in one minute', () => {
    const due = nextRun('* * * * *', after)!;
    assert.equal(nextRun('* * * * *', due)?.toISOString(), '2026-11-20T12:02:00.000Z');
  });

  for (const expression of [
    '',
    '* * * *',
    '* * * * * *',
    '60 * * * *',
    'a b c d e',
    '0 0 30 2 *',
    '@daily',
    '* * * * 8',
  ]) {
    it(`${JSON.stringify(expression)} is refused`, () => assert.notEqual(cronError(expression), null));
  }
});

describe('what came due between two times', () => {
  const to = new Date('2026-11-20T13:00:00Z');
  it('is counted, with the last time', () => {
    assert.deepEqual(dueBetween('*/10 * * * *', after, to, 100), { count: 6, last: to });
    assert.deepEqual(dueBetween('0 0 1 1 *', after, to, 100), { count: 0, last: null });
  });
  it('is counted to a bound', () => assert.equal(dueBetween('* * * * *', after, to, 7).count, 7));
});
