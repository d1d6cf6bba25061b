/** The way to a database, with a real process behind it: what is said when that is ended, and that nothing acknowledged is lost. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { json } from 'node:stream/consumers';
import { after, describe, it } from 'node:test';
import type { Publications } from '../../model/messages.ts';
import type { Isolate } from '../../pop/isolates/host.ts';
import { systemWorker } from '../../pop/isolates/products.ts';
import { openBench } from '../../pop/isolates/testing.ts';
import { Owners } from '../../pop/owners.ts';
import { createHub } from '../../state/local-bus.ts';
import { createDatabaseClient, type DatabaseAddress } from './client.ts';
import { D1, DatabaseError } from './limits.ts';
import { databaseVersion } from './process.ts';

const bench = await openBench();
const hub = createHub();
const client = createDatabaseClient(hub, 'data');
const running = new Map<string, Isolate>();
const all: Isolate[] = [];
const owners = new Owners((isolate) => isolate.stop(2_000));
/** CPU time of a statement, for databases that start from now on. */
let cpuMs: number = D1.queryCpuMs;
hub.respond('local.d1-wake', async ({ accountId, id }: DatabaseAddress) => {
  if (accountId !== 'acc') return null;
  const version = await databaseVersion({ accountId, id }, systemWorker);
  version.limits.cpuMs = cpuMs;
  const isolate = await owners.take(id, () => bench.host.start({ version, tailed: false, entrypoints: [] }));
  running.set(id, isolate);
  all.push(isolate);
  const lost = () => hub.publish('local.isolates', { versionId: version.id, isolates: [], tailed: false });
  isolate.once('killed', lost).once('exit', lost);
  return isolate.ref;
});
hub.respond('local.verdict', async ({ isolate: id }: { isolate: string }) => ({
  verdict: await all.find(({ ref }) => ref.id === id)!.verdict(),
  killedAt: null,
}));
after(async () => {
  client.close();
  await bench.close();
  await hub.close();
});

const fresh = (): DatabaseAddress => ({ accountId: 'acc', id: randomUUID() });
async function run(database: DatabaseAddress, sql: string, params: unknown[] = []): Promise<any> {
  const body = Buffer.from(JSON.stringify({ sql, params }));
  return json(await client.ask(database, { method: 'POST', path: '/execute', body }));
}
const ENDLESS = 'WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n';

describe('a database', () => {
  it('is started when it is asked, and is its own', async () => {
    const [first, second] = [fresh(), fresh()];
    await run(first, 'CREATE TABLE t (a)');
    assert.equal((await run(first, 'INSERT INTO t VALUES (1)'))[0].meta.changes, 1);
    assert.match((await run(second, 'SELECT * FROM t')).error, /no such table: t.*SQLITE_ERROR/);
  });

  it('that is not there is not started', async () => {
    await assert.rejects(run({ accountId: 'other', id: randomUUID() }, 'SELECT 1'), DatabaseError);
  });

  it('keeps every acknowledged row over kill -9 of its process under load', async () => {
    const database = fresh();
    await run(database, 'CREATE TABLE t (n INTEGER PRIMARY KEY)');
    const acknowledged: number[] = [];
    let lost = 0;
    let next = 0;
    const end = Date.now() + 1_500;
    const writers = Array.from({ length: 8 }, async () => {
      while (Date.now() < end) {
        const n = next++;
        try {
          const [{ success }] = await run(database, 'INSERT INTO t VALUES (?)', [n]);
          if (success) acknowledged.push(n);
        } catch (error) {
          assert.equal((error as Error).message, 'Network connection lost.');
          lost++;
        }
      }
    });
    const killer = (async () => {
      for (let kills = 0; kills < 3; kills++) {
        await new Promise((resolve) => setTimeout(resolve, 300));
        const isolate = running.get(database.id);
        if (!isolate || isolate.ended) continue;
        process.kill(isolate.pid, 'SIGKILL');
        await once(isolate, 'exit');
      }
    })();
    await Promise.all([...writers, killer]);
    assert.ok(acknowledged.length > 50 && lost > 0, `${acknowledged.length} acknowledged, ${lost} lost`);
    const [{ results }] = await run(database, 'SELECT n FROM t');
    const stored = new Set(results.map(({ n }: { n: number }) => n));
    assert.deepEqual(
      acknowledged.filter((n) => !stored.has(n)),
      [],
    );
  });

  it('is ended by a statement that takes too long, and says so; another database goes on meanwhile', async () => {
    cpuMs = 1_000;
    const [slow, other] = [fresh(), fresh()];
    await run(slow, 'CREATE TABLE t (a)');
    await run(other, 'CREATE TABLE t (a)');
    const endless = assert.rejects(run(slow, ENDLESS), { message: 'D1 DB exceeded its CPU time limit and was reset.' });
    for (let i = 0; i < 20; i++) assert.equal((await run(other, 'INSERT INTO t VALUES (1)'))[0].success, true);
    await endless;
    assert.deepEqual((await run(slow, 'SELECT count(*) AS c FROM t'))[0].results, [{ c: 0 }]);
    cpuMs = D1.queryCpuMs;
  });

  it('that is asked too much at once refuses by name', async () => {
    const database = fresh();
    await run(database, 'CREATE TABLE t (a)');
    const asked = Array.from({ length: D1.queued + 5 }, () =>
      run(database, 'SELECT 1').catch((error: Error) => error.message),
    );
    const refused = (await Promise.all(asked)).filter((answer) => typeof answer === 'string');
    assert.deepEqual(refused, Array(5).fill('D1 DB is overloaded. Too many requests queued.'));
  });

  it('tells how many queries and rows were read and written, and what is open', async () => {
    const used: Publications['local.product-usage']['usage'] = [];
    const open: number[] = [];
    const database = fresh();
    hub.subscribe('local.product-usage', ({ usage }: Publications['local.product-usage']) => {
      used.push(...usage.filter(({ resource }) => resource === database.id));
    });
    await run(database, 'CREATE TABLE t (a)');
    hub.subscribe('local.load', ({ isolates }: Publications['local.load']) => {
      const load = isolates[running.get(database.id)!.ref.id];
      if (load) open.push(load.started);
    });
    await run(database, 'INSERT INTO t VALUES (1), (2), (3)');
    await run(database, 'SELECT * FROM t');
    await run(database, 'SELECT * FROM t');
    await new Promise((resolve) => setTimeout(resolve, 1_300));
    const sum = (name: string) => used.reduce((total, { amounts }) => total + amounts[name]!, 0);
    assert.deepEqual([sum('readQueries'), sum('writeQueries')], [2, 2]);
    // Making the table reads and writes a few rows of the schema.
    assert.ok(sum('rowsRead') >= 6 && sum('rowsRead') < 12);
    assert.ok(sum('rowsWritten') >= 3);
    assert.ok(open.reduce((total, count) => total + count, 0) >= 3);
  });
});
