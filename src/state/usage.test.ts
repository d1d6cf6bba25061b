import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, describe, it } from 'node:test';
import { DamagedState } from './damaged.ts';
import { FLUSH_MS, openUsage } from './usage.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-usage-'));
after(() => rmSync(directory, { recursive: true }));
const nothing = {
  requests: 0,
  errors: 0,
  cpuMs: 0,
  subrequests: 0,
  egressBytes: 0,
  ingressBytes: 0,
  durationMs: 0,
};

describe('the usage store', () => {
  const path = join(directory, 'usage.sqlite');

  it('adds up per account, script and UTC day, also over restarts', (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.parse('2026-11-20T23:59:59Z') });
    const usage = openUsage(path);
    usage.add('a1', 'shop', { cpuMs: 10, requests: 3, errors: 1 });
    usage.add('a1', 'shop', { cpuMs: 2.5, egressBytes: 1000, ingressBytes: 10, durationMs: 12, subrequests: 2 });
    usage.add('a2', 'shop', { requests: 1 });
    t.mock.timers.setTime(Date.parse('2026-11-21T00:00:00Z'));
    usage.add('a1', 'shop', { cpuMs: 7 });
    usage.close();
    const again = openUsage(path);
    again.add('a1', 'shop', { cpuMs: 1 });
    assert.deepEqual(again.read(), [
      {
        accountId: 'a1',
        script: 'shop',
        day: '2026-11-20',
        requests: 3,
        errors: 1,
        cpuMs: 12.5,
        subrequests: 2,
        egressBytes: 1000,
        ingressBytes: 10,
        durationMs: 12,
      },
      { accountId: 'a2', script: 'shop', day: '2026-11-20', ...nothing, requests: 1 },
      { accountId: 'a1', script: 'shop', day: '2026-11-21', ...nothing, cpuMs: 8 },
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
    writer.add('a3', 'x', { cpuMs: 5 });
    writer.flush();
    assert.equal(reader.read({ accountId: 'a3' })[0]?.cpuMs, 5);
    writer.close();
    reader.close();
  });

  it('counts nothing for what is no amount', () => {
    const usage = openUsage(path);
    for (const value of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
      usage.add('a4', 'x', { cpuMs: value, requests: value });
    }
    assert.deepEqual(usage.read({ accountId: 'a4' }), []);
    usage.close();
  });

  it('keeps parts of a millisecond of duration until they make a whole one, so that none are lost', () => {
    const usage = openUsage(path);
    for (let i = 0; i < 100; i++) {
      usage.add('a5', 'x', { durationMs: 0.25 });
      usage.flush();
    }
    assert.equal(usage.read({ accountId: 'a5' })[0]?.durationMs, 25);
    usage.close();
  });

  it('is on disk after the time that is promised, without being closed', (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] });
    const usage = openUsage(path);
    usage.add('a6', 'x', { requests: 1 });
    const other = new DatabaseSync(path);
    const count = () => other.prepare("SELECT count(*) AS n FROM usage WHERE account = 'a6'").get()!.n;
    t.mock.timers.tick(FLUSH_MS - 1);
    assert.equal(count(), 0);
    t.mock.timers.tick(1);
    assert.equal(count(), 1);
    other.close();
    usage.close();
  });

  it('takes over a file of the layout that had CPU time only', () => {
    const old = join(directory, 'old.sqlite');
    const db = new DatabaseSync(old);
    db.exec(`CREATE TABLE cpu (account TEXT, script TEXT, day TEXT, ms REAL NOT NULL, PRIMARY KEY (day, account, script)) STRICT;
      INSERT INTO cpu VALUES ('a1', 'shop', '2026-10-01', 12.3456), ('a2', 'shop', '2026-10-02', 1)`);
    db.close();
    const usage = openUsage(old);
    usage.add('a1', 'shop', { requests: 1 });
    usage.close();
    const again = openUsage(old);
    assert.deepEqual(
      again.read({ to: '2026-10-31' }).map(({ accountId, day, cpuMs, requests }) => [accountId, day, cpuMs, requests]),
      [
        ['a1', '2026-10-01', 12.346, 0],
        ['a2', '2026-10-02', 1, 0],
      ],
    );
    again.close();
  });

  it('refuses a file that is no usage store', () => {
    const damaged = join(directory, 'damaged.sqlite');
    writeFileSync(damaged, 'not a database'.repeat(1000));
    assert.throws(() => openUsage(damaged), DamagedState);
  });
});
