import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { DamagedState } from './damaged.ts';
import { openProductUsage } from './product-usage.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-product-usage-'));
after(() => rmSync(directory, { recursive: true }));

describe('the usage of products', () => {
  const path = join(directory, 'used.sqlite');
  const all = { product: 'd1', accountId: 'a1', from: '2026-11-20T00', to: '2026-11-21T23' };

  it('adds up per resource and UTC hour, also over restarts', () => {
    let time = '2026-11-20T23:59:59Z';
    const now = () => new Date(time);
    let usage = openProductUsage(path, now);
    usage.add({ product: 'd1', accountId: 'a1', resource: 'x', amounts: { rowsRead: 5, rowsWritten: 0 } });
    usage.add({ product: 'd1', accountId: 'a1', resource: 'x', amounts: { rowsRead: 2, rowsWritten: 1 } });
    usage.add({ product: 'd1', accountId: 'a2', resource: 'x', amounts: { rowsRead: 100 } });
    usage.add({ product: 'r2', accountId: 'a1', resource: 'x', amounts: { reads: 100 } });
    usage.close();
    time = '2026-11-21T00:00:00Z';
    usage = openProductUsage(path, now);
    usage.add({ product: 'd1', accountId: 'a1', resource: 'x', amounts: { rowsRead: 1 } });
    usage.add({ product: 'd1', accountId: 'a1', resource: 'y', amounts: { rowsRead: 4, bad: Number.NaN, worse: -1 } });
    assert.deepEqual(usage.read(all), [
      { resource: 'x', hour: '2026-11-20T23', amounts: { rowsRead: 7, rowsWritten: 1 } },
      { resource: 'x', hour: '2026-11-21T00', amounts: { rowsRead: 1 } },
      { resource: 'y', hour: '2026-11-21T00', amounts: { rowsRead: 4 } },
    ]);
    assert.deepEqual(usage.read({ ...all, resource: 'y' }).length, 1);
    assert.deepEqual(usage.read({ ...all, to: '2026-11-20T23' }).length, 1);
    usage.close();
  });

  it('of a damaged file says so', () => {
    const damaged = join(directory, 'damaged.sqlite');
    writeFileSync(damaged, 'no database at all, but long enough to be looked at'.repeat(100));
    assert.throws(() => openProductUsage(damaged), DamagedState);
  });
});
