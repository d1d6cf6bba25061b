import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Jobs } from './jobs.ts';

describe('jobs', () => {
  it('are active until they end, with a result or an error', async () => {
    const jobs = new Jobs<number>(3);
    const { promise, resolve } = Promise.withResolvers<number>();
    const slow = jobs.start('a', () => promise)!;
    assert.deepEqual(await jobs.wait('a', slow, 1), { status: 'active' });
    const waiting = jobs.wait('a', slow, 60_000);
    resolve(7);
    assert.deepEqual(await waiting, { status: 'complete', result: 7 });
    const failed = jobs.start('a', async () => {
      throw new Error('no');
    })!;
    const state = await jobs.wait('a', failed, 60_000);
    assert.ok(state?.status === 'error' && /no/.test(String(state.error)));
  });

  it('are of their owner only, and not without end', async () => {
    const jobs = new Jobs<void>(2);
    const { promise, resolve } = Promise.withResolvers<void>();
    const first = jobs.start('a', () => promise)!;
    assert.ok(jobs.start('a', () => promise));
    assert.equal(
      jobs.start('a', () => promise),
      null,
    );
    assert.ok(jobs.start('b', () => promise));
    assert.equal(await jobs.wait('b', first, 1), null);
    assert.equal(await jobs.wait('a', 'other', 1), null);
    resolve();
    await jobs.wait('a', first);
    assert.ok(jobs.start('a', () => promise));
  });
});
