/** Files that only their owner may read, whatever the umask and the mode of the directory they are in. */
import { closeSync, fsyncSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

const MODE = 0o600;

/** Makes an empty file of mode 0600 unless there is one. SQLite gives the files that it puts beside it the same mode. */
export function createPrivate(path: string): void {
  closeSync(openSync(path, 'a', MODE));
}

/** Writes a file of mode 0600, whole or not at all, and on disk when it returns. */
export function writePrivate(path: string, text: string): void {
  const file = openSync(`${path}.new`, 'w', MODE);
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.new`, path);
  syncDirectory(dirname(path));
}

/** A renamed file is durable when its directory is. */
function syncDirectory(path: string): void {
  const directory = openSync(path, 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
