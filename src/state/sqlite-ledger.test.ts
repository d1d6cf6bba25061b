import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, it } from 'node:test';
import { DamagedState } from './damaged.ts';
import { ledgerConformance } from './ledger.conformance.ts';
import { openSqliteLedger } from './sqlite-ledger.ts';

// This file is also the writing process of its own tests.
if (process.env.LEDGER_TEST_PATH) await writeUntilKilled(process.env.LEDGER_TEST_PATH);

async function writeUntilKilled(path: string): Promise<never> {
  process.on('disconnect', () => process.exit());
  const ledger = openSqliteLedger(path);
  for (let i = 0; ; i++) {
    process.send?.(await ledger.put(`k/${i}`, i));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const directory = mkdtempSync(join(tmpdir(), 'selvedge-ledger-'));
let files = 0;
const freshPath = () => join(directory, `${files++}.sqlite`);
const opened: { close(): Promise<void> }[] = [];

function open(path: string) {
  const ledger = openSqliteLedger(path);
  opened.push(ledger);
  return ledger;
}

after(async () => {
  for (const ledger of opened) await ledger.close();
  rmSync(directory, { recursive: true });
});

ledgerConformance('the SQLite ledger', async () => {
  const path = freshPath();
  return { ledger: open(path), again: async () => open(path) };
});

it('a database of another program is refused', () => {
  const path = freshPath();
  const db = new DatabaseSync(path);
  db.exec('CREATE TABLE notes (text TEXT)');
  db.close();
  assert.throws(() => openSqliteLedger(path), /another program/);
});

it('a ledger of a later Selvedge is refused', () => {
  const path = freshPath();
  const db = new DatabaseSync(path);
  db.exec('PRAGMA user_version = 99');
  db.close();
  assert.throws(() => openSqliteLedger(path), /version 99/);
});

it('nobody but the owner may read it', async () => {
  const path = freshPath();
  await open(path).put('a', 1);
  for (const file of [path, `${path}-wal`, `${path}-shm`]) assert.equal(statSync(file).mode & 0o777, 0o600);
});

it('a follower that fails gets the same changes again', async () => {
  const ledger = open(freshPath());
  await ledger.put('a', 1);
  const done = Promise.withResolvers<unknown>();
  let calls = 0;
  const stop = ledger.watch(0, ([change]) => {
    if (++calls === 1) throw new Error('a follower with a fault (this test wants it)');
    done.resolve(change?.key);
  });
  assert.equal(await done.promise, 'a');
  stop();
});

it('what a process acknowledged before it was killed is there, and its followers saw it', async () => {
  const path = freshPath();
  const ledger = open(path);
  const seen: number[] = [];
  const waiting = new Map<number, () => void>();
  const stop = ledger.watch(0, (changes) => {
    for (const { sequence } of changes) {
      seen.push(sequence);
      waiting.get(sequence)?.();
    }
  });
  const writer = fork(import.meta.filename, { env: { ...process.env, LEDGER_TEST_PATH: path } });
  const exited = new Promise((resolve) => writer.once('exit', resolve));
  let acknowledged = 0;
  writer.on('message', (sequence: number) => {
    acknowledged = sequence;
    if (sequence === 50) writer.kill('SIGKILL');
  });
  await exited;
  assert.ok(acknowledged >= 50);
  if (!seen.includes(acknowledged)) await new Promise<void>((resolve) => waiting.set(acknowledged, resolve));
  stop();
  assert.deepEqual(
    seen,
    seen.map((_, index) => index + 1),
  );
  assert.ok((await ledger.list('k/')).length >= acknowledged);
});

it('a file that is no ledger is refused in one sentence', () => {
  const path = freshPath();
  writeFileSync(path, 'this is not a database, whatever its name says');
  assert.throws(
    () => openSqliteLedger(path),
    (error: Error) => error instanceof DamagedState && !error.message.includes('\n'),
  );
});

it('a file that lost its end is refused', async () => {
  const path = freshPath();
  const ledger = openSqliteLedger(path);
  for (let i = 0; i < 200; i++) await ledger.put(`k/${i}`, 'x'.repeat(1000));
  await ledger.close();
  truncateSync(path, 40_000);
  assert.throws(() => openSqliteLedger(path), DamagedState);
});
