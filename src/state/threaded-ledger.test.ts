import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { DamagedState } from './damaged.ts';
import { ledgerConformance } from './ledger.conformance.ts';
import type { Ledger } from './ledger.ts';
import { openSqliteLedger } from './sqlite-ledger.ts';
import { openThreadedLedger } from './threaded-ledger.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-threaded-'));
let files = 0;
const freshPath = () => join(directory, `${files++}.sqlite`);
const opened: Ledger[] = [];

async function open(path: string) {
  const ledger = await openThreadedLedger(path);
  opened.push(ledger);
  return ledger;
}

after(async () => {
  for (const ledger of opened) await ledger.close();
  rmSync(directory, { recursive: true });
});

ledgerConformance('the threaded ledger', async () => {
  const path = freshPath();
  return { ledger: await open(path), again: () => open(path) };
});

it('is the same file as the plain one', async () => {
  const path = freshPath();
  const ledger = await open(path);
  const plain = openSqliteLedger(path);
  opened.push(plain);
  await ledger.put('a', 1);
  assert.equal((await plain.get('a'))?.value, 1);
  await plain.put('a', 2);
  assert.equal((await ledger.get('a'))?.value, 2);
});

it('a read waits for no write', async () => {
  const ledger = await open(freshPath());
  await ledger.put('a', 1);
  let written = false;
  const writing = Promise.all(Array.from({ length: 2_000 }, (_, i) => ledger.put(`k/${i}`, 'x'.repeat(1000)))).then(
    () => {
      written = true;
    },
  );
  await ledger.get('a');
  assert.equal(written, false);
  await writing;
});

it('what was handed over before the end is written', async () => {
  const path = freshPath();
  const ledger = await openThreadedLedger(path);
  const last = ledger.put('last', 1);
  await ledger.close();
  await last;
  await assert.rejects(ledger.put('later', 1), /closed/);
  assert.equal((await (await open(path)).get('last'))?.value, 1);
});

it('a damaged file is named when it is opened', async () => {
  const path = freshPath();
  writeFileSync(path, 'this is no database, whatever its name says'.repeat(100));
  await assert.rejects(openThreadedLedger(path), DamagedState);
});
