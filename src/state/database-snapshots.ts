/**
 * Earlier states of D1 databases: copies of their files (which share blocks with them where the file system can), each under its bookmark in
 * `<directory>/<database id>/<bookmark>/`. The files that are copied belong to a process that is not trusted: links among them are not followed.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** What makes a database: what was committed may be in the log still. */
const FILE = /^[0-9a-f]{64}\.sqlite(-wal)?$/;
const BOOKMARK = /^[0-9a-f]{8}(-[0-9a-f]{8}){2}-[0-9a-f]{32}$/;
const UNFINISHED = 'new-';
/** No copy takes so long. */
const ABANDONED_MS = 3_600_000;

export interface SnapshotLimits {
  /** States of one database. */
  count: number;
  /** Of all of them together, but for the newest two. */
  bytes: number;
  ageMs: number;
}

export interface DatabaseSnapshots {
  /** Databases that have states. */
  ids(): Promise<string[]>;
  /** Bookmarks of a database, the oldest first. */
  list(id: string): Promise<string[]>;
  /** Copies the files in `source`, which must not change meanwhile; the state is durable when it resolves. The oldest go above the limits. */
  take(id: string, source: string, bookmark: string): Promise<void>;
  /** A copy of a state that may be moved away: the path of its directory. */
  copy(id: string, bookmark: string): Promise<string>;
  drop(id: string, bookmark: string): Promise<void>;
  /** All of a database. */
  remove(id: string): Promise<void>;
}

export function openDatabaseSnapshots(directory: string, limits: SnapshotLimits): DatabaseSnapshots {
  async function list(id: string): Promise<string[]> {
    return (await namesIn(join(directory, id))).filter((name) => BOOKMARK.test(name)).sort();
  }

  async function makeCopy(id: string, source: string): Promise<string> {
    const target = join(directory, id, UNFINISHED + randomBytes(8).toString('hex'));
    await mkdir(target, { recursive: true, mode: 0o700 });
    try {
      await copyFiles(source, target);
      return target;
    } catch (error) {
      await rm(target, { recursive: true, force: true });
      throw error;
    }
  }

  async function bound(id: string): Promise<void> {
    const newestFirst = (await list(id)).reverse();
    let bytes = 0;
    for (const [index, bookmark] of newestFirst.entries()) {
      const path = join(directory, id, bookmark);
      bytes += await sizeOf(path);
      const isOld = timeOf(bookmark) < Date.now() - limits.ageMs;
      if (index >= limits.count || isOld || (index >= 2 && bytes > limits.bytes)) {
        await rm(path, { recursive: true, force: true });
      }
    }
    // What a crash has left.
    for (const name of await namesIn(join(directory, id))) {
      const path = join(directory, id, name);
      if (!name.startsWith(UNFINISHED) || (await stat(path)).mtimeMs > Date.now() - ABANDONED_MS) continue;
      await rm(path, { recursive: true, force: true });
    }
  }

  return {
    ids: () => namesIn(directory),
    list,
    async take(id, source, bookmark) {
      const copy = await makeCopy(id, source);
      await rename(copy, join(directory, id, bookmark));
      await synced(join(directory, id));
      await bound(id);
    },
    copy: (id, bookmark) => makeCopy(id, join(directory, id, bookmark)),
    drop: (id, bookmark) => rm(join(directory, id, bookmark), { recursive: true, force: true }),
    remove: (id) => rm(join(directory, id), { recursive: true, force: true }),
  };
}

async function namesIn(directory: string): Promise<string[]> {
  return readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
}

/** When a bookmark was given, in ms since 1970. */
export function timeOf(bookmark: string): number {
  const [seconds, ms] = bookmark.split('-');
  return Number.parseInt(seconds!, 16) * 1000 + Number.parseInt(ms!, 16);
}

async function copyFiles(source: string, target: string): Promise<void> {
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, COPYFILE_FICLONE } = constants;
  const from = await open(source, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    const base = `/proc/self/fd/${from.fd}`;
    for (const name of (await readdir(base)).filter((each) => FILE.test(each))) {
      const file = await open(join(base, name), O_RDONLY | O_NOFOLLOW);
      try {
        if (!(await file.stat()).isFile()) throw new Error(`${name} is not a file`);
        await copyFile(`/proc/self/fd/${file.fd}`, join(target, name), COPYFILE_FICLONE);
      } finally {
        await file.close();
      }
      await synced(join(target, name));
    }
  } finally {
    await from.close();
  }
  await synced(target);
}

async function synced(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function sizeOf(directory: string): Promise<number> {
  const sizes = await Promise.all(
    (await readdir(directory)).map(async (name) => (await stat(join(directory, name))).size),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
