import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { DamagedState } from './damaged.ts';
import { openUsage } from './usage.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-usage-'));
after(() => rmSync(directory, { recursive: true }));

describe('the usage store', () => {
  const path = join(directory, 'usage.sqlite');

  it('adds up CPU time per account, script and day, also over restarts', (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.parse('2026-11-20T23:59:59Z') });
    const usage = openUsage(path);
    usage.add('a1', 'shop', 10);
    usage.add('a1', 'shop', 2.5);
    usage.add('a2', 'shop', 1);
    t.mock.timers.setTime(Date.parse('2026-11-21T00:00:00Z'));
    usage.add('a1', 'shop', 7);
    usage.close();
    const again = openUsage(path);
    again.add('a1', 'shop', 1);
    assert.deepEqual(again.read(), [
      { accountId: 'a1', script: 'shop', day: '2026-11-20', cpuMs: 12.5 },
      { accountId: 'a2', script: 'shop', day: '2026-11-20', cpuMs: 1 },
      { accountId: 'a1', script: 'shop', day: '2026-11-21', cpuMs: 8 },
    ]);
    again.close();
  });

  it('answers for one account, one script and a span of days', () => {
    const usage = openUsage(path);
    assert.equal(usage.read({ accountId: 'a1' }).length, 2);
    assert.equal(usage.read({ accountId: 'a2', script: 'shop' }).length, 1);
    assert.equal(usage.read({ accountId: 'a1', script: 'other' }).length, 0);
    assert.equal(usage.read({ from: '2026-11-21' }).length, 1);
    assert.equal(usage.read({ from: '2026-11-20', to: '2026-11-20' }).length, 2);
    usage.close();
  });

  it('lets another process read while it is written', () => {
    const writer = openUsage(path);
    const reader = openUsage(path);
    writer.add('a3', 'x', 5);
    writer.flush();
    assert.equal(reader.read({ accountId: 'a3' })[0]?.cpuMs, 5);
    writer.close();
    reader.close();
  });

  it('counts nothing for what is no time', () => {
    const usage = openUsage(path);
    for (const value of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) usage.add('a4', 'x', value);
    assert.deepEqual(usage.read({ accountId: 'a4' }), []);
    usage.close();
  });

  it('refuses a file that is no usage store', () => {
    const damaged = join(directory, 'damaged.sqlite');
    writeFileSync(damaged, 'not a database'.repeat(1000));
    assert.throws(() => openUsage(damaged), DamagedState);
  });
});
