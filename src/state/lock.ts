/**
 * The lock of a data directory: an SQLite file with an open exclusive transaction. The kernel holds the lock, so that it ends with the process, also after
 * `kill -9`; there is no stale lock to clean up.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

export class DirectoryInUse extends Error {
  override name = 'DirectoryInUse';
}

/** Takes the lock at `path` until `release`. Throws DirectoryInUse with the holder's pid in its message. */
export function lockDataDir(path: string): { release(): void } {
  const db = new DatabaseSync(path);
  const pidPath = `${path}.pid`;
  try {
    db.exec('PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE');
  } catch {
    db.close();
    throw new DirectoryInUse(`the data directory is in use by another Selvedge${holder(pidPath)}`);
  }
  writeFileSync(pidPath, `${process.pid}\n`);
  return {
    release() {
      if (db.isOpen) db.close();
    },
  };
}

function holder(pidPath: string): string {
  try {
    return ` (pid ${readFileSync(pidPath, 'utf8').trim()})`;
  } catch {
    return '';
  }
}
