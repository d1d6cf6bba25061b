/**
 * Files on their way through the control API: SQL that is uploaded to be run, exports until they are fetched. Nothing in them is the only copy:
 * the directory is emptied when the core starts.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';

/** More came than was allowed; nothing is kept. */
export class TooLarge extends Error {
  override name = 'TooLarge';
}

export interface TransferFile {
  /** 32 hex digits. */
  name: string;
  sizeBytes: number;
  /** Hex. */
  md5: string;
}

export interface TransferFiles {
  /** Writes a stream to a new file. Throws TooLarge, and what the stream throws: then nothing is left. */
  write(source: Readable, limitBytes: number): Promise<TransferFile>;
  read(name: string): Readable;
  remove(name: string): Promise<void>;
}

/** Empties the directory. */
export async function openTransferFiles(directory: string): Promise<TransferFiles> {
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true, mode: 0o700 });
  return {
    async write(source, limitBytes) {
      const name = randomBytes(16).toString('hex');
      const path = join(directory, name);
      const md5 = createHash('md5');
      let sizeBytes = 0;
      const counted = new Transform({
        transform(chunk: Buffer, _, done) {
          sizeBytes += chunk.length;
          md5.update(chunk);
          if (sizeBytes > limitBytes) done(new TooLarge(`more than ${limitBytes} bytes`));
          else done(null, chunk);
        },
      });
      try {
        await pipeline(source, counted, createWriteStream(path, { mode: 0o600 }));
      } catch (error) {
        await rm(path, { force: true });
        throw error;
      }
      return { name, sizeBytes, md5: md5.digest('hex') };
    },
    read: (name) => createReadStream(join(directory, name)),
    remove: (name) => rm(join(directory, name), { force: true }),
  };
}
