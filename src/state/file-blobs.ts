/** The embedded Blobs: one file per blob, in 256 folders by the first two hex digits of its hash. */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { BlobCorrupted, type Blobs } from './blobs.ts';

/** Chunks are gathered up to this before they are written. */
const WRITE_BYTES = 512 * 1024;
/** Of one `writev`: the system takes 1024. */
const MAX_VECTORS = 512;
/** A file that nobody wrote to for this long is not being written, whoever began it. */
const ABANDONED_MS = 3_600_000;

export interface FileBlobs extends Blobs {
  /** The file of a blob, for readers on the same machine. */
  path(hash: string): string;
  /** Hashes of the blobs in a folder (two hex digits) that were written before this time (ms since 1970). */
  older(folder: string, before: number): Promise<string[]>;
}

/** Opens or creates the store in `directory`. */
export async function openFileBlobs(directory: string): Promise<FileBlobs> {
  const incoming = join(directory, 'incoming');
  await mkdir(incoming, { recursive: true, mode: 0o700 });
  const self = await writerOf(process.pid);
  await removeAbandoned(incoming, self !== null);

  function path(hash: string): string {
    // The hash becomes a file name: nothing but a hash may.
    if (!/^[0-9a-f]{64}$/.test(hash)) throw new TypeError(`not a blob's hash: ${JSON.stringify(hash)}`);
    return join(directory, hash.slice(0, 2), hash);
  }

  async function size(hash: string): Promise<number | null> {
    try {
      return (await stat(path(hash))).size;
    } catch (error) {
      if (isAbsent(error)) return null;
      throw error;
    }
  }

  return {
    path,
    size,

    async older(folder, before) {
      const names = await readdir(join(directory, folder)).catch((error: unknown) => {
        if (isAbsent(error)) return [];
        throw error;
      });
      const found: string[] = [];
      for (const name of names) {
        const info = await stat(join(directory, folder, name)).catch(() => null);
        if (info && info.mtimeMs < before && /^[0-9a-f]{64}$/.test(name)) found.push(name);
      }
      return found;
    },

    async put(content) {
      const temporary = join(incoming, `${self}-${randomUUID()}`);
      const file = await open(temporary, 'wx', 0o600);
      try {
        const { hash, sizeBytes } = await write(file, content);
        await file.sync();
        const target = path(hash);
        if (await mkdir(dirname(target), { recursive: true, mode: 0o700 })) await syncDirectory(directory);
        await rename(temporary, target);
        await syncDirectory(dirname(target));
        return { hash, sizeBytes };
      } catch (error) {
        await rm(temporary, { force: true });
        throw error;
      } finally {
        await file.close();
      }
    },

    async get(hash) {
      try {
        const bytes = await readFile(path(hash));
        if (createHash('sha256').update(bytes).digest('hex') !== hash) throw corrupted(hash);
        return bytes;
      } catch (error) {
        if (isAbsent(error)) return null;
        throw error;
      }
    },

    async stream(hash, range) {
      if ((await size(hash)) === null) return null;
      if (range) {
        const { start, end, chunkBytes } = range;
        return createReadStream(path(hash), { start, end, highWaterMark: chunkBytes });
      }
      const digest = createHash('sha256');
      const check = new Transform({
        transform(chunk, _encoding, done) {
          digest.update(chunk);
          done(null, chunk);
        },
        flush(done) {
          done(digest.digest('hex') === hash ? null : corrupted(hash));
        },
      });
      const source = createReadStream(path(hash));
      source.on('error', (error) => check.destroy(error));
      check.on('close', () => source.destroy());
      return source.pipe(check);
    },

    async delete(hash) {
      await rm(path(hash), { force: true });
    },

    async close() {},
  };
}

/** Removes what was being written when a process was killed; other processes may be writing now. `known`: who runs can be told here. */
async function removeAbandoned(incoming: string, known: boolean): Promise<void> {
  for (const name of await readdir(incoming)) {
    const [, writer, pid] = /^((\d+)\.\d+)-/.exec(name) ?? [];
    const info = await stat(join(incoming, name)).catch(() => null);
    if (!info) continue;
    const isDead = known && writer !== undefined && (await writerOf(Number(pid))) !== writer;
    if (isDead || Date.now() - info.mtimeMs > ABANDONED_MS) await rm(join(incoming, name), { force: true });
  }
}

/** A running process by its id and when it started, as ids are used again; null if there is none, or the system does not tell. */
async function writerOf(pid: number): Promise<string | null> {
  try {
    // Behind the name, which may hold anything; field 22 is the start (https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html).
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    return `${pid}.${text.slice(text.lastIndexOf(')') + 2).split(' ')[19]}`;
  } catch {
    return null;
  }
}

/** Writes all of the chunks: the system may take less at once. */
async function writeAll(file: FileHandle, chunks: Uint8Array[]): Promise<void> {
  while (chunks.length > 0) {
    const batch = chunks.splice(0, MAX_VECTORS);
    const bytes = batch.reduce((sum, { byteLength }) => sum + byteLength, 0);
    const { bytesWritten } = await file.writev(batch);
    if (bytesWritten < bytes) await file.writeFile(Buffer.concat(batch).subarray(bytesWritten));
  }
}

async function write(file: FileHandle, content: Uint8Array | Readable): Promise<{ hash: string; sizeBytes: number }> {
  const digest = createHash('sha256');
  let sizeBytes = 0;
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  // While the disk takes what came before, more is taken from the stream and hashed.
  let writing: Promise<unknown> = Promise.resolve();
  const flush = async () => {
    await writing;
    const chunks = waiting;
    waiting = [];
    waitingBytes = 0;
    writing = writeAll(file, chunks);
    // Its failure is seen by who waits next; until then it is nobody's.
    writing.catch(() => undefined);
  };
  try {
    for await (const chunk of content instanceof Readable ? content : [content]) {
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : (chunk as Uint8Array);
      digest.update(bytes);
      sizeBytes += bytes.byteLength;
      waiting.push(bytes);
      waitingBytes += bytes.byteLength;
      if (waitingBytes >= WRITE_BYTES) await flush();
    }
    await flush();
  } finally {
    // The file must not be closed under a write.
    await writing;
  }
  return { hash: digest.digest('hex'), sizeBytes };
}

/** A renamed file is durable when its directory is. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function isAbsent(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

function corrupted(hash: string): BlobCorrupted {
  return new BlobCorrupted(`blob ${hash} does not have the content of its name: the disk or somebody changed it`);
}
