/** For R2's own tests: its state in a directory of its own, opened as often as a machine's processes do. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { after } from 'node:test';
import { layout } from '../../model/layout.ts';
import type { ObjectMetadata } from './documents.ts';
import { openR2, type R2 } from './open.ts';

export const MiB = 1024 * 1024;
export const PLAIN: ObjectMetadata = { http: {}, custom: [], storageClass: 'Standard' };

/** A directory that is removed when the test file has ended. */
export function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-r2-'));
  after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Opens R2 `times` in one directory. `close` closes all of them; what is open when the tests are over is closed then. */
export async function openTimes(times: number, dataDir = temporary()) {
  const opened: R2[] = [];
  for (let i = 0; i < times; i++) opened.push(await openR2(dataDir));
  const open = new Set(opened);
  const close = async () => {
    for (const r2 of open) {
      open.delete(r2);
      await r2.close();
    }
  };
  after(close);
  return {
    opened,
    dataDir,
    files: () => blobFiles(dataDir),
    close,
  };
}

/** Files of bodies, and those that are not whole. */
export function blobFiles(dataDir: string): string[] {
  return readdirSync(layout(dataDir).r2Blobs, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
}

/** A body in chunks of `chunkBytes`. */
export async function* chunked(bytes: Uint8Array, chunkBytes = 100_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

export async function newBucket({ buckets }: R2, name = `b${randomBytes(8).toString('hex')}`) {
  return buckets.create('account', name);
}

export const whole = (chunks: AsyncIterable<Uint8Array>): Promise<Buffer> => buffer(chunks);
