/** `wrangler d1 time-travel`: states that were kept come back, whole, and can be undone. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { openD1Bench } from './d1-bench.ts';

const { edge, cwd, id, call, d1, create } = await openD1Bench();
after(() => edge.close());

const bookmark = async () => JSON.parse(await d1('time-travel', 'info', 'first', '--json')).bookmark as string;
const restore = async (to: string) =>
  JSON.parse(await d1('time-travel', 'restore', 'first', '--json', '--bookmark', to)) as Record<string, string>;
const values = async () => (await call({ method: 'raw', sql: 'SELECT a FROM t ORDER BY a' })).ok.flat();
const insert = (value: number) => call({ method: 'run', sql: 'INSERT INTO t VALUES (?)', params: [value] });

describe('time travel', () => {
  it('restores to a bookmark, and back again', async () => {
    await call({ method: 'exec', args: ['CREATE TABLE t (a)'] });
    await insert(1);
    const then = await bookmark();
    await insert(2);
    const restored = await restore(then);
    assert.deepEqual([restored.bookmark, await values()], [then, [1]]);
    await restore(restored.previous_bookmark!);
    assert.deepEqual(await values(), [1, 2]);
  });

  it('has the state before SQL of the API that writes', async () => {
    await d1('execute', 'first', '--remote', '--command', 'DROP TABLE t');
    assert.match((await call({ method: 'all', sql: 'SELECT * FROM t' })).error, /no such table: t/);
    // A time has no state of its own, but those that there are are told.
    const asked = ['d1', 'time-travel', 'restore', 'first', '--timestamp', new Date().toISOString()];
    const { code, stdout, stderr } = await edge.wrangler(asked, { cwd });
    assert.notEqual(code, 0);
    assert.match(stdout + stderr, /does not keep every state[\s\S]*7400/);
    const kept = [...(stdout + stderr).matchAll(/[0-9a-f]{8}(-[0-9a-f]{8}){2}-[0-9a-f]{32}/g)].map(([text]) => text);
    await restore(kept.at(-1)!);
    assert.deepEqual(await values(), [1, 2]);
  });

  it('takes a whole state while the database is written, and keeps what is acknowledged', async () => {
    let isDone = false;
    const acknowledged: number[] = [];
    const writers = Array.from({ length: 8 }, async (_, writer) => {
      for (let i = 0; !isDone; i++) {
        const value = 1_000 + writer * 100_000 + i;
        if ((await insert(value)).ok) acknowledged.push(value);
      }
    });
    const before = acknowledged.length;
    const then = await bookmark();
    const least = acknowledged.slice(0, before);
    isDone = true;
    await Promise.all(writers);
    const all = new Set(await values());
    assert.ok(acknowledged.length > 0 && acknowledged.every((value) => all.has(value)));
    const { previous_bookmark: previous } = await restore(then);
    const some = new Set<number>(await values());
    assert.ok(least.every((value) => some.has(value)) && [...some].every((value) => all.has(value)));
    assert.deepEqual((await call({ method: 'raw', sql: 'PRAGMA quick_check' })).ok, [['ok']]);
    await restore(previous!);
    assert.deepEqual(new Set(await values()), all);
  });

  it('refuses a bookmark that is not kept, and another database’s', async () => {
    await create('other');
    const theirs = JSON.parse(await d1('time-travel', 'info', 'other', '--json')).bookmark as string;
    for (const none of [theirs, '00000000-00000000-00000000-00000000000000000000000000000000', '../../ledger.sqlite']) {
      const path = `/accounts/${edge.accountId}/d1/database/${id}/time_travel/restore?bookmark=${encodeURIComponent(none)}`;
      const { status, body } = await edge.api(path, { method: 'POST' });
      assert.deepEqual([status, body.errors[0].code], [400, 7400]);
    }
  });

  it('leaves nothing of a database that was deleted', async () => {
    const snapshots = join(edge.dataDir, 'd1-snapshots');
    assert.equal(readdirSync(snapshots).length, 2);
    await d1('delete', 'other', '-y');
    await d1('delete', 'first', '-y');
    assert.deepEqual(readdirSync(snapshots), []);
    assert.equal(existsSync(join(edge.dataDir, 'objects', id.replaceAll('-', ''))), false);
  });
});
