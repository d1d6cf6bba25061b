import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, describe, it } from 'node:test';
import { FLUSH_MS, openBucketUsage } from './bucket-usage.ts';
import { DamagedState } from './damaged.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-bucket-usage-'));
after(() => rmSync(directory, { recursive: true }));
const path = join(directory, 'usage.sqlite');
const photos = { accountId: 'a1', id: 'b1', name: 'photos' };
const nothing = { classA: 0, classB: 0, egressBytes: 0, ingressBytes: 0 };
const plain = (rows: object[]) => rows.map((row) => ({ ...row }));

describe('the usage of buckets', () => {
  it('adds up per bucket and UTC day, also over restarts and from several processes', (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.parse('2026-11-20T23:59:59Z') });
    const one = openBucketUsage(path);
    const two = openBucketUsage(path);
    one.count(photos, { classA: 1, ingressBytes: 100, storedBytes: 100, objects: 1 });
    two.count(photos, { classB: 2, egressBytes: 200 });
    two.count({ accountId: 'a2', id: 'b2', name: 'photos' }, { classA: 1 });
    t.mock.timers.setTime(Date.parse('2026-11-21T00:00:00Z'));
    one.count(photos, { classA: 1, storedBytes: -40 });
    one.close();
    two.close();
    const again = openBucketUsage(path);
    again.count(photos, { classB: 1 });
    assert.deepEqual(plain(again.read({ accountId: 'a1' })), [
      { ...photos, day: '2026-11-20', classA: 1, classB: 2, egressBytes: 200, ingressBytes: 100 },
      { ...photos, day: '2026-11-21', ...nothing, classA: 1, classB: 1 },
    ]);
    assert.equal(again.read({ accountId: 'a2' }).length, 1);
    assert.deepEqual({ ...again.holds('b1') }, { storedBytes: 60, objects: 1 });
    assert.equal(again.holds('unknown'), null);
    again.close();
  });

  it('is told for a span of days, both included, by the name that the bucket has now', () => {
    const usage = openBucketUsage(path);
    assert.equal(usage.read({ accountId: 'a1', from: '2026-11-21', to: '2026-11-21' }).length, 1);
    assert.equal(usage.read({ accountId: 'a1', from: '2026-11-20' }).length, 2);
    assert.equal(usage.read({ accountId: 'a1', to: '2026-11-19' }).length, 0);
    usage.close();
  });

  it('is on disk after the time that is promised, without being closed', (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] });
    const usage = openBucketUsage(path);
    usage.count({ accountId: 'a3', id: 'b3', name: 'x' }, { classA: 1 });
    const other = new DatabaseSync(path);
    const count = () => other.prepare("SELECT count(*) AS n FROM days WHERE account = 'a3'").get()!.n;
    t.mock.timers.tick(FLUSH_MS - 1);
    assert.equal(count(), 0);
    t.mock.timers.tick(1);
    assert.equal(count(), 1);
    other.close();
    usage.close();
  });

  it('is corrected to what was counted by hand; what changed meanwhile stays', () => {
    const usage = openBucketUsage(path);
    const bucket = { accountId: 'a4', id: 'b4', name: 'x' };
    usage.count(bucket, { storedBytes: 500, objects: 5 });
    const since = { ...usage.holds('b4')! };
    usage.count(bucket, { storedBytes: 7, objects: 1 });
    usage.correct(bucket, { storedBytes: 300, objects: 3 }, since);
    assert.deepEqual({ ...usage.holds('b4') }, { storedBytes: 307, objects: 4 });
    usage.close();
  });

  it('waits while the disk takes nothing, is still told, and is written when it does', () => {
    const full = join(directory, 'full.sqlite');
    const usage = openBucketUsage(full);
    usage.count(photos, { classA: 1, storedBytes: 9, objects: 1 });
    usage.flush();
    // A table that takes no rows, as a full disk.
    const other = new DatabaseSync(full);
    other.exec("CREATE TRIGGER full BEFORE INSERT ON days BEGIN SELECT RAISE(ABORT, 'disk is full'); END");
    usage.count(photos, { classA: 1, storedBytes: 1, objects: 1 });
    assert.throws(() => usage.flush(), /disk is full/);
    assert.deepEqual({ ...usage.holds('b1') }, { storedBytes: 9, objects: 1 });
    assert.equal(usage.read({ accountId: 'a1' })[0]!.classA, 1);
    other.exec('DROP TRIGGER full');
    assert.deepEqual({ ...usage.holds('b1') }, { storedBytes: 10, objects: 2 });
    other.exec("CREATE TRIGGER full BEFORE INSERT ON days BEGIN SELECT RAISE(ABORT, 'disk is full'); END");
    usage.count(photos, { classA: 1 });
    usage.close();
    other.close();
  });

  it('refuses a file that is no usage store', () => {
    const damaged = join(directory, 'damaged.sqlite');
    writeFileSync(damaged, 'not a database'.repeat(1000));
    assert.throws(() => openBucketUsage(damaged), DamagedState);
  });
});
