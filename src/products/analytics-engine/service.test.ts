/** The socket of Analytics Engine bindings, and the writer behind it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { DataPoint } from '../../state/points.ts';
import { ANALYTICS } from './limits.ts';
import { openAnalytics } from './open.ts';
import { runQuery } from './run.ts';
import { createAnalyticsService } from './service.ts';

const ALICE = 'a'.repeat(32);
const BOB = 'b'.repeat(32);

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

describe('the socket', () => {
  it('takes points of the datasets that are bound, and nothing else', async () => {
    const taken: DataPoint[] = [];
    const url = await listening(
      createAnalyticsService({
        allowed: ['mine'],
        add: (points) => {
          taken.push(...points);
          return taken.length < 3;
        },
      }),
    );
    const post = async (body: unknown) => (await fetch(url, { method: 'POST', body: JSON.stringify(body) })).status;
    assert.equal(await post([['mine', 'i', ['b'], [1, null]]]), 204);
    const [{ timestamp, ...point }] = taken as [DataPoint];
    assert.deepEqual(point, { dataset: 'mine', index: 'i', blobs: ['b'], doubles: [1, 0] });
    assert.ok(Math.abs(timestamp - Date.now() / 1000) < 60);
    for (const [body, status] of [
      [[['theirs', '', [], []]], 400],
      [
        [
          ['mine', '', [], []],
          ['theirs', '', [], []],
        ],
        400,
      ],
      [[['mine', 'x'.repeat(97), [], []]], 400],
      [[['mine', '', Array(21).fill(''), []]], 400],
      [[['mine', '', ['ü'.repeat(5_000), 'ü'.repeat(5_000)], []]], 400],
      [[['mine', '', [], Array(21).fill(0)]], 400],
      [[['mine', '', [], ['1']]], 400],
      [Array(251).fill(['mine', '', [], []]), 400],
      [{ points: [] }, 400],
      [null, 400],
    ] as [unknown, number][]) {
      assert.equal(await post(body), status, JSON.stringify(body).slice(0, 100));
    }
    assert.equal(taken.length, 1);
    assert.equal(await post(Array(250).fill(['mine', '', [], []])), 503);
  });

  it('refuses a body that is too large, or of unknown length', async () => {
    const url = await listening(createAnalyticsService({ allowed: ['mine'], add: () => true }));
    const huge = Buffer.alloc(ANALYTICS.postBytes + 1, ' ');
    const status = await fetch(url, { method: 'POST', body: huge }).then(
      ({ status }) => status,
      () => 413,
    );
    assert.equal(status, 413);
    const stream = new Blob(['[]']).stream();
    assert.equal((await fetch(url, { method: 'POST', body: stream, duplex: 'half' } as RequestInit)).status, 413);
  });
});

describe('the writer', () => {
  it('writes what was taken before it is closed, and lets no account have all the room', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'analytics-'));
    after(() => rmSync(dataDir, { recursive: true }));
    const analytics = openAnalytics(dataDir);
    const points = (count: number) =>
      Array.from({ length: count }, () => ({ dataset: 'd', timestamp: 1, index: '', blobs: [], doubles: [] }));
    assert.equal(analytics.add(ALICE, points(ANALYTICS.waitingPerAccount)), true);
    assert.equal(analytics.add(ALICE, points(1)), false);
    assert.equal(analytics.add(BOB, points(7)), true);
    await analytics.close();
    const count = (account: string) =>
      JSON.parse(runQuery(join(dataDir, 'analytics', `${account}.sqlite`), 'SELECT count() AS n FROM d', 0)).data[0].n;
    assert.deepEqual([count(ALICE), count(BOB)], [String(ANALYTICS.waitingPerAccount), '7']);
  });
});
