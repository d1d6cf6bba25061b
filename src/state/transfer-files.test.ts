import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { after, describe, it } from 'node:test';
import { openTransferFiles, TooLarge } from './transfer-files.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-transfers-'));
after(() => rmSync(directory, { recursive: true }));

describe('files of transfers', async () => {
  const files = await openTransferFiles(directory);

  it('are written with their size and MD5, read and removed', async () => {
    const file = await files.write(Readable.from([Buffer.from('hel'), Buffer.from('lo')]), 5);
    assert.deepEqual([file.sizeBytes, file.md5], [5, '5d41402abc4b2a76b9719d911017c592']);
    assert.equal(await text(files.read(file.name)), 'hello');
    await files.remove(file.name);
    assert.deepEqual(readdirSync(directory), []);
  });

  it('leave nothing when they are too large, or their source fails', async () => {
    await assert.rejects(files.write(Readable.from([Buffer.from('hello')]), 4), TooLarge);
    const failing = Readable.from(
      (async function* () {
        yield Buffer.from('x');
        throw new Error('cut');
      })(),
    );
    await assert.rejects(files.write(failing, 100), /cut/);
    assert.deepEqual(readdirSync(directory), []);
  });

  it('are gone after a restart', async () => {
    await files.write(Readable.from([Buffer.from('x')]), 4);
    await openTransferFiles(directory);
    assert.deepEqual(readdirSync(directory), []);
  });
});
