/** States that are kept of a real database's process: only such as nothing was changed in meanwhile. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { after, it } from 'node:test';
import { layout } from '../../model/layout.ts';
import type { Isolate } from '../../pop/isolates/host.ts';
import { systemWorker } from '../../pop/isolates/products.ts';
import { openBench } from '../../pop/isolates/testing.ts';
import { Owners } from '../../pop/owners.ts';
import { createHub } from '../../state/local-bus.ts';
import { createDatabaseClient, type DatabaseClient } from './client.ts';
import type { Database, Databases } from './databases.ts';
import { DatabaseError } from './limits.ts';
import { databaseVersion } from './process.ts';
import { openSnapshots } from './snapshots.ts';

const bench = await openBench();
const hub = createHub();
const real = createDatabaseClient(hub, 'core');
const owners = new Owners((isolate) => isolate.stop(2_000));
let running: Isolate;
hub.respond('local.d1-wake', async ({ accountId, id }: { accountId: string; id: string }) => {
  const version = await databaseVersion({ accountId, id }, systemWorker);
  running = await owners.take(version.objects!, () => bench.host.start({ version, tailed: false, entrypoints: [] }));
  running.once('exit', () => hub.publish('local.isolates', { versionId: version.id, isolates: [], tailed: false }));
  return running.ref;
});
hub.respond('local.verdict', async () => ({ verdict: 'unknown', killedAt: null }));

/** What happens between the questions of the snapshots. */
let behind = async (_path: string) => {};
const client: DatabaseClient = {
  async ask(database, question) {
    const answer = await real.ask(database, question);
    await behind(question.path);
    return answer;
  },
  close() {},
};
const snapshots = openSnapshots(hub, bench.runDir, client, {} as Databases);
after(async () => {
  snapshots.close();
  real.close();
  await bench.close();
  await hub.close();
});

async function open(): Promise<Database> {
  behind = async () => {};
  const database = { id: randomUUID(), accountId: 'acc', name: 'db', createdOn: '' };
  await run(database, 'CREATE TABLE t (a)');
  return database;
}
async function run(database: Database, sql: string): Promise<void> {
  const body = Buffer.from(JSON.stringify({ sql }));
  const [{ success }] = (await json(await real.ask(database, { method: 'POST', path: '/execute', body }))) as any;
  assert.equal(success, true);
}

it('a state of which the process was replaced while it was copied is none', async () => {
  const database = await open();
  behind = async (path) => {
    if (path !== '/freeze') return;
    const exited = once(running, 'exit');
    process.kill(running.pid, 'SIGKILL');
    await exited;
    await run(database, 'INSERT INTO t VALUES (1)');
  };
  await assert.rejects(snapshots.now(database), DatabaseError);
  assert.deepEqual(await snapshots.list(database), []);
  behind = async () => {};
  const bookmark = await snapshots.now(database);
  assert.deepEqual(await snapshots.list(database), [bookmark]);
});

it('a restore that is not made leaves no copy', async () => {
  const database = await open();
  const bookmark = await snapshots.now(database);
  await run(database, 'INSERT INTO t VALUES (1)');
  hub.respond('local.d1-restore', async () => {
    throw new Error('not now');
  });
  await assert.rejects(snapshots.restore(database, bookmark), /not now/);
  const left = readdirSync(join(layout(bench.runDir).d1Snapshots, database.id));
  assert.deepEqual(left, await snapshots.list(database));
  assert.equal(left.length, 2);
});
