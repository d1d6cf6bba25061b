/** Processes that run queries: bounded in time and number, and fair among accounts. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { PointStore } from '../../state/points.ts';
import { ANALYTICS } from './limits.ts';
import { Busy, createQueries } from './queries.ts';
import { QueryError } from './tokens.ts';

const dataDir = mkdtempSync(join(tmpdir(), 'queries-'));
const queries = createQueries(dataDir, 2_000);
after(() => {
  queries.close();
  rmSync(dataDir, { recursive: true });
});
const ALICE = 'a'.repeat(32);
const BOB = 'b'.repeat(32);
mkdirSync(join(dataDir, 'analytics'));
const store = new PointStore(join(dataDir, 'analytics', `${ALICE}.sqlite`), { datasets: 1, bytes: 1e9 });
store.write(
  Array.from({ length: 1_000 }, (_, i) => ({ dataset: 'd', timestamp: i, index: 'i', blobs: [], doubles: [i] })),
);
store.close();
/** Counts 10^30 rows, without a call of JavaScript. */
const ENDLESS = `SELECT count() AS n FROM ${Array.from({ length: 10 }, (_, i) => `d AS d${i}`).join(', ')}`;
const first = async (account: string, sql: string) =>
  Object.values(JSON.parse(await queries.run(account, sql)).data[0])[0];

it('a query that does not end is ended, and others of the same and of another account go on', async () => {
  const endless = queries.run(ALICE, ENDLESS);
  endless.catch(() => undefined);
  assert.equal(await first(BOB, 'SELECT 1 AS one'), '1');
  const behind = first(ALICE, 'SELECT count() AS n FROM d');
  await assert.rejects(endless, (error: Error) => error instanceof QueryError && /longer than 2 s/.test(error.message));
  assert.equal(await behind, '1000');
});

it('an account has few queries at once, and each gets its own answer', async () => {
  const asked = Array.from({ length: 30 }, (_, i) => first(BOB, `SELECT ${i} AS n`));
  const outcomes = await Promise.allSettled(asked);
  const answered = outcomes.filter(({ status }) => status === 'fulfilled');
  assert.equal(answered.length, ANALYTICS.waitingQueriesPerAccount + 1);
  for (const [i, outcome] of outcomes.entries()) {
    if (outcome.status === 'fulfilled') assert.equal(outcome.value, String(i));
    else assert.ok(outcome.reason instanceof Busy);
  }
});

it('a query that needs more memory than there is ends alone', async () => {
  const many = Array.from({ length: 3 }, (_, i) => `d AS d${i}`).join(', ');
  await assert.rejects(
    queries.run(ALICE, `SELECT group_concat(d0.index1 || d1.timestamp || d2.timestamp) AS n FROM ${many}`),
    /too big|out of memory|too much memory|longer than/,
  );
  assert.equal(await first(ALICE, 'SELECT max(double1) AS n FROM d'), 999);
});
