/** Databases when memory is short: their processes go when nobody asks, and no query notices. */
import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { openD1Bench } from './d1-bench.ts';
import { eventually } from './harness.ts';

const { edge, id, call, processOf } = await openD1Bench({ args: ['--isolate-memory', '1'] });
after(() => edge.close());

it('a database that nobody asks has no process, and all its rows when it is asked again', async () => {
  await call({ method: 'exec', args: ['CREATE TABLE t (n)'] });
  for (let n = 1; n <= 3; n++) {
    await eventually(async () => (await processOf(id)) === null);
    assert.ok((await call({ method: 'run', sql: 'INSERT INTO t VALUES (?)', params: [n] })).ok);
    assert.deepEqual((await call({ method: 'first', sql: 'SELECT count(*) AS c FROM t' })).ok, { c: n });
  }
});

it('no query fails that comes while its process is being evicted', async () => {
  const pids = new Set<number | null>();
  for (let n = 0; n < 40; n++) {
    const answers = await Promise.all([1, 2].map(() => call({ method: 'run', sql: 'INSERT INTO t VALUES (0)' })));
    assert.deepEqual(
      answers.map(({ error }) => error),
      [undefined, undefined],
    );
    pids.add(await processOf(id));
    await new Promise((resolve) => setTimeout(resolve, n * 15));
  }
  assert.ok(pids.size > 3, `${pids.size} processes`);
});
