import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { openObjectFiles } from './object-files.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-objects-'));
after(() => rmSync(directory, { recursive: true }));
const files = openObjectFiles(join(directory, 'objects'));
const storage = '0123456789abcdef'.repeat(2);
const place = join(directory, 'objects', storage, 'd1');
const database = `${'a'.repeat(64)}.sqlite`;

/** A directory with a database of this content. */
function made(path: string, content: string): string {
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, database), content);
  return path;
}
const content = () => readFileSync(join(place, database), 'utf8');

describe('files of objects', () => {
  it('are found by the name of their directory, with their size', async () => {
    assert.deepEqual(await files.storagesWith('d1'), []);
    assert.equal(await files.sizeOf(storage, 'd1'), 0);
    made(place, 'first');
    assert.deepEqual(await files.storagesWith('d1'), [storage]);
    assert.equal(await files.sizeOf(storage, 'd1'), 5);
    await assert.rejects(files.sizeOf('../x', 'd1'), TypeError);
  });

  it('are replaced, with nothing left', async () => {
    const from = made(join(directory, 'from'), 'second');
    await files.replace(storage, 'd1', from);
    assert.deepEqual([content(), existsSync(from), existsSync(`${place}.old`)], ['second', false, false]);
  });

  it('are whole after a replacement that was cut at any point', async () => {
    renameSync(place, `${place}.old`);
    await files.recover('d1');
    assert.deepEqual([content(), existsSync(`${place}.old`)], ['second', false]);
    made(`${place}.old`, 'older');
    await files.recover('d1');
    assert.deepEqual([content(), existsSync(`${place}.old`)], ['second', false]);
    await files.recover('d1');
    assert.equal(content(), 'second');
  });
});
