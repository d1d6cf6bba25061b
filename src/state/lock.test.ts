import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { DamagedState } from './damaged.ts';
import { DirectoryInUse, lockDataDir } from './lock.ts';

// This file is also the other process of its own tests.
if (process.env.LOCK_TEST_PATH) {
  lockDataDir(process.env.LOCK_TEST_PATH);
  process.send?.('locked');
  process.on('disconnect', () => process.exit());
} else {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-lock-'));
  const path = join(directory, 'lock.sqlite');
  after(() => rmSync(directory, { recursive: true }));

  it('a second taker is told who holds the directory, until the holder is killed', async () => {
    const other = fork(import.meta.filename, { env: { ...process.env, LOCK_TEST_PATH: path } });
    await new Promise((resolve) => other.once('message', resolve));
    assert.throws(
      () => lockDataDir(path),
      new DirectoryInUse(`data directory ${directory} is in use by pid ${other.pid}`),
    );
    other.kill('SIGKILL');
    await new Promise((resolve) => other.once('exit', resolve));
    lockDataDir(path).release();
  });

  it('a released lock can be taken again', () => {
    lockDataDir(path).release();
    lockDataDir(path).release();
  });

  it('the lock is nobody else’s to read', () => assert.equal(statSync(path).mode & 0o777, 0o600));

  it('a file that is no lock is refused in one sentence', () => {
    const damaged = join(directory, 'damaged.sqlite');
    writeFileSync(damaged, 'not a database'.repeat(1000));
    assert.throws(() => lockDataDir(damaged), DamagedState);
  });
}
