import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { pickVersion } from './traffic.ts';

const shares = [
  { versionId: 'a', percentage: 90 },
  { versionId: 'b', percentage: 10 },
];

describe('the version of a request', () => {
  it('is none without a deployment', () => assert.equal(pickVersion([]), null));

  it('is the only one there is', () => assert.equal(pickVersion([{ versionId: 'a', percentage: 100 }]), 'a'));

  it('follows the percentages', () => {
    let b = 0;
    for (let i = 0; i < 20_000; i++) if (pickVersion(shares) === 'b') b++;
    // 10% of 20,000 is 2,000; ten standard deviations are 424.
    assert.ok(b > 1576 && b < 2424, `${b} of 20,000`);
  });

  it('is the same for the same affinity key', () => {
    for (let i = 0; i < 100; i++) {
      const key = `visitor-${i}`;
      const first = pickVersion(shares, key);
      for (let again = 0; again < 5; again++) assert.equal(pickVersion(shares, key), first);
    }
  });

  it('follows the percentages over affinity keys', () => {
    let b = 0;
    for (let i = 0; i < 5_000; i++) if (pickVersion(shares, `visitor-${i}`) === 'b') b++;
    assert.ok(b > 288 && b < 712, `${b} of 5,000`);
  });

  it('never is a version without traffic', () => {
    const none = [
      { versionId: 'a', percentage: 100 },
      { versionId: 'b', percentage: 0 },
    ];
    for (let i = 0; i < 1000; i++) assert.equal(pickVersion(none), 'a');
  });
});
