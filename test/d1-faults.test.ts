/** D1 while processes are killed: every insert that was acknowledged to a Worker is there afterwards. */
import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { openD1Bench } from './d1-bench.ts';
import { eventually, startEdge } from './harness.ts';

const { edge, id, call, host, processOf } = await openD1Bench();
after(() => edge.close());

const INSERT = 'INSERT INTO t VALUES (?)';
const KILLS = 3;
let next = 0;
const acknowledged: number[] = [];
const errors = new Set<string>();

/** Eight writers, until `done`. */
async function write(done: Promise<unknown>): Promise<void> {
  let isDone = false;
  const writers = Array.from({ length: 8 }, async () => {
    while (!isDone) {
      const n = next++;
      // A request that a killed edge or machine drops is not acknowledged.
      const answer = await call({ method: 'run', sql: INSERT, params: [n] }).catch((error) => ({
        error: String(error),
      }));
      if (answer.ok) acknowledged.push(n);
      else errors.add(answer.error);
    }
  });
  await done;
  isDone = true;
  await Promise.all(writers);
}

async function lost(at = edge): Promise<number[]> {
  const body = JSON.stringify({ method: 'raw', sql: 'SELECT n FROM t' });
  const answer = await at.request(at.host('one'), '/', { method: 'POST', body });
  const stored = new Set((answer.json().ok as [number][]).map(([n]) => n));
  return acknowledged.filter((n) => !stored.has(n));
}

async function nodeProcess(wanted: string): Promise<number> {
  const found = await eventually(async () => {
    const { body } = await edge.api('/../../selvedge/status');
    return body.result.processes.find(({ name, ready }: { name: string; ready: boolean }) => name === wanted && ready);
  });
  return found.pid;
}

it('no acknowledged insert is lost when the database’s process is killed, and the next query is answered', async () => {
  await call({ method: 'exec', args: ['CREATE TABLE t (n INTEGER PRIMARY KEY)'] });
  const before = acknowledged.length;
  await write(
    (async () => {
      for (let i = 0; i < KILLS; i++) {
        await new Promise((resolve) => setTimeout(resolve, 400));
        process.kill((await eventually(() => processOf(id)))!, 'SIGKILL');
      }
      await new Promise((resolve) => setTimeout(resolve, 400));
    })(),
  );
  assert.ok(acknowledged.length - before > 50, String(acknowledged.length));
  assert.deepEqual([...errors], ['D1_ERROR: Network connection lost.']);
  assert.deepEqual(await lost(), []);
});

it('none when the data process is killed', async () => {
  const before = acknowledged.length;
  await write(
    (async () => {
      const pid = await nodeProcess('data');
      await eventually(() => acknowledged.length > before);
      process.kill(pid, 'SIGKILL');
      await eventually(async () => (await nodeProcess('data')) !== pid);
      const then = acknowledged.length;
      await eventually(() => acknowledged.length > then);
    })(),
  );
  await eventually(async () => (await call({ method: 'first', sql: 'SELECT 1 AS a' })).ok);
  assert.deepEqual(await lost(), []);
});

it('none when the whole machine is killed', async () => {
  const before = acknowledged.length;
  const down = new Promise((resolve) => setTimeout(resolve, 500)).then(() => {
    process.kill(edge.pid, 'SIGKILL');
    return edge.stop();
  });
  await write(down);
  assert.ok(acknowledged.length > before);
  const again = await startEdge({ dataDir: edge.dataDir });
  try {
    assert.deepEqual(await lost(again), []);
    assert.equal(again.host('one'), host);
  } finally {
    await again.close();
  }
});
