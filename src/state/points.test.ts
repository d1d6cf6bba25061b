/** The file of an account's data points: its order, and its bounds. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { DamagedState } from './damaged.ts';
import { type DataPoint, openPointsReader, PointStore } from './points.ts';

const directory = mkdtempSync(join(tmpdir(), 'points-'));
after(() => rmSync(directory, { recursive: true }));
const LIMITS = { datasets: 2, bytes: 4_000_000 };

function batch(dataset: string, timestamp: number, size = 1): DataPoint[] {
  return Array.from({ length: size }, () => ({
    dataset,
    timestamp,
    index: 'i',
    blobs: ['x'.repeat(1_000)],
    doubles: [timestamp],
  }));
}

function summary(path: string) {
  const db = openPointsReader(path, {});
  try {
    return db.prepare('SELECT count(*) AS n, min(double1) AS oldest, max(double1) AS newest FROM points').get();
  } finally {
    db.close();
  }
}

it('points are there after it is closed, only for its owner', () => {
  const path = join(directory, 'kept.sqlite');
  const store = new PointStore(path, LIMITS);
  assert.equal(store.write([...batch('a', 7), ...batch('b', 8)]), 0);
  store.close();
  new PointStore(path, LIMITS).close();
  assert.deepEqual({ ...summary(path) }, { n: 2, oldest: 7, newest: 8 });
  assert.equal(statSync(path).mode & 0o777, 0o600);
});

it('the oldest points go when it is as large as it may be', () => {
  const path = join(directory, 'full.sqlite');
  const store = new PointStore(path, LIMITS);
  for (let i = 0; i < 20; i++) store.write(batch('a', i, 1_000));
  store.close();
  const { n, oldest, newest } = summary(path) as Record<string, number>;
  assert.equal(newest, 19);
  assert.ok(oldest! > 10 && n! >= 1_000, `${n} points from ${oldest}`);
  assert.ok(statSync(path).size <= LIMITS.bytes);
});

it('points before a time are deleted, and no others', () => {
  const path = join(directory, 'old.sqlite');
  const store = new PointStore(path, { datasets: 2, bytes: 1e9 });
  for (let i = 0; i < 12; i++) store.write(batch('a', i, 1_000));
  let rounds = 0;
  while (store.expire(9)) rounds++;
  store.close();
  assert.ok(rounds > 1);
  assert.deepEqual({ ...summary(path) }, { n: 3_000, oldest: 9, newest: 11 });
});

it('datasets above the most that an account may have are refused, those that it has are not', () => {
  const store = new PointStore(join(directory, 'datasets.sqlite'), LIMITS);
  assert.equal(store.write([...batch('a', 1), ...batch('b', 1), ...batch('c', 1), ...batch('a', 2)]), 1);
  assert.equal(store.write([...batch('c', 3), ...batch('b', 3)]), 1);
  store.close();
});

it('a file that is not one is named', () => {
  const path = join(directory, 'broken.sqlite');
  writeFileSync(path, 'this is no database'.repeat(100));
  assert.throws(() => new PointStore(path, LIMITS), DamagedState);
});
