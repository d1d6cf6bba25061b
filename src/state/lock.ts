/**
 * The lock of a data directory: an SQLite file with an open exclusive transaction. The kernel holds the lock, so that it ends with the
 * process, also after `kill -9`; there is no stale lock to clean up.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { DamagedState } from './damaged.ts';
import { createPrivate } from './private-file.ts';

/** https://sqlite.org/rescode.html#busy */
const SQLITE_BUSY = 5;

export class DirectoryInUse extends Error {
  override name = 'DirectoryInUse';
}

/** Takes the lock at `path` until `release`. Throws DirectoryInUse, with the holder's pid in its message, or DamagedState. */
export function lockDataDir(path: string): { release(): void } {
  createPrivate(path);
  const db = new DatabaseSync(path);
  const pidPath = `${path}.pid`;
  try {
    db.exec('PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE');
  } catch (error) {
    db.close();
    const { errcode, message } = error as Error & { errcode?: number };
    if (errcode !== SQLITE_BUSY) throw new DamagedState(path, message);
    throw new DirectoryInUse(`data directory ${dirname(path)} is in use by ${holder(pidPath)}`);
  }
  writeFileSync(pidPath, `${process.pid}\n`);
  return {
    release() {
      if (db.isOpen) db.close();
    },
  };
}

/** The holder writes its pid just after it took the lock: there is a moment without. */
function holder(pidPath: string): string {
  try {
    return `pid ${readFileSync(pidPath, 'utf8').trim()}`;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'another Selvedge';
    throw error;
  }
}
