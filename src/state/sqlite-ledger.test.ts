import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { DamagedState } from './damaged.ts';
import { ledgerConformance } from './ledger.conformance.ts';
import { openSqliteLedger } from './sqlite-ledger.ts';

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

it('a file that is no ledger is refused in one sentence', () => {
  const path = freshPath();
  writeFileSync(path, 'this is not a database, whatever its name says');
  assert.throws(() => openSqliteLedger(path), (error: Error) => error instanceof DamagedState && !error.message.includes('\n'));
});

it('a file that lost its end is refused', async () => {
  const path = freshPath();
  const ledger = openSqliteLedger(path);
  for (let i = 0; i < 200; i++) await ledger.put(`k/${i}`, 'x'.repeat(1000));
  await ledger.close();
  truncateSync(path, 40_000);
  assert.throws(() => openSqliteLedger(path), DamagedState);
});
