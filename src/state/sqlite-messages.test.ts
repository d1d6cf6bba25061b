/** The store of messages alone: what one transaction may do. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, it } from 'node:test';
import { SqliteMessages } from './sqlite-messages.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-messages-'));
after(() => rmSync(directory, { recursive: true }));

it('a delivery removes a bounded number of messages that are too old or failed: others want to write as well', () => {
  const store = new SqliteMessages(join(directory, 'one.sqlite'));
  const newId = () => randomBytes(16).toString('hex');
  for (const name of ['a', 'b']) store.create({ id: newId(), accountId: 'x', name, document: {} });
  const [key, letters] = store.queues().map((queue) => queue.key) as [number, number];
  const messages = Array.from({ length: 3000 }, () => ({
    id: newId(),
    format: 'text',
    body: Buffer.from('x'),
    due: 1,
  }));
  const asked = {
    queue: key,
    now: 2,
    until: 2,
    limit: 10,
    limitBytes: 1e9,
    keepFrom: 0,
    maxRetries: 0,
    deadLetters: letters,
  };
  store.transaction(() => {
    store.send(key, messages, 1, 1e9);
    store.lease({ ...asked, limit: 2000 });
  });
  for (let left = 3000, rounds = 0; left > 0; rounds++) {
    store.transaction(() => store.lease({ ...asked, now: 4, keepFrom: 2 }));
    const now = store.backlog(key).count;
    assert.ok(left - now <= 1000 && rounds < 10, `${left} -> ${now}`);
    left = now;
  }
  store.close();
});

it('a transaction that ends by an error of the disk says that error, and the next one is a new one', () => {
  const path = join(directory, 'two.sqlite');
  const store = new SqliteMessages(path);
  const create = (name: string) =>
    store.transaction(() => store.create({ id: randomBytes(16).toString('hex'), accountId: 'x', name, document: {} }));
  const disk = new DatabaseSync(path);
  disk.exec(
    "CREATE TRIGGER full BEFORE INSERT ON queues BEGIN SELECT RAISE(ROLLBACK, 'database or disk is full'); END",
  );
  assert.throws(() => create('a'), /database or disk is full/);
  disk.exec('DROP TRIGGER full');
  disk.close();
  assert.equal(create('a'), true);
  store.close();
});
