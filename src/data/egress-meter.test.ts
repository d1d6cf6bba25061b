import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createMeters } from './egress-meter.ts';

describe('the meters of the egress', () => {
  it('add up by Worker over its processes, and tell what came since the last report', () => {
    const meters = createMeters();
    const meter = meters.of('a', 'w');
    meters.of('a', 'idle');
    meter.subrequests += 2;
    meters.of('a', 'w').bytesOut += 5;
    assert.deepEqual(meters.take(), [
      { accountId: 'a', script: 'w', subrequests: 2, refused: 0, bytesOut: 5, bytesIn: 0 },
    ]);
    assert.deepEqual(meters.take(), []);
    meter.bytesIn += 1;
    assert.deepEqual(meters.take(), [
      { accountId: 'a', script: 'w', subrequests: 0, refused: 0, bytesOut: 0, bytesIn: 1 },
    ]);
  });
});
