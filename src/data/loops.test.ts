import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createLoops } from './loops.ts';

describe('subrequests to this machine itself', () => {
  it('are bounded by Worker while they are open, and each ends once', () => {
    const loops = createLoops(2);
    const first = loops.enter('a', 'w')!;
    assert.ok(loops.enter('a', 'w'));
    assert.equal(loops.enter('a', 'w'), null);
    assert.ok(loops.enter('a', 'other'));
    assert.ok(loops.enter('b', 'w'));
    first();
    first();
    assert.ok(loops.enter('a', 'w'));
    assert.equal(loops.enter('a', 'w'), null);
  });
});
