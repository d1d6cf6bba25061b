import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { openDatabaseSnapshots, timeOf } from './database-snapshots.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-snapshots-'));
after(() => rmSync(directory, { recursive: true }));
const name = `${'a'.repeat(64)}.sqlite`;
const hex = (number: number) => number.toString(16).padStart(8, '0');
const bookmarkOf = (ms: number) => `${hex(Math.floor(ms / 1000))}-${hex(ms % 1000)}-${hex(0)}-${'0'.repeat(32)}`;
const day = 24 * 3_600_000;

/** Files of a database with this content. */
function source(content: string): string {
  const path = mkdtempSync(join(directory, 'source-'));
  writeFileSync(join(path, name), content);
  writeFileSync(join(path, `${name}-wal`), 'log');
  writeFileSync(join(path, `${name}-shm`), 'not copied');
  writeFileSync(join(path, 'metadata.sqlite'), 'not copied');
  return path;
}

describe('states of databases', () => {
  const now = Date.now();

  it('are the files and their logs, each by its bookmark, until they are removed', async () => {
    const snapshots = openDatabaseSnapshots(join(directory, 'one'), { count: 9, bytes: 1e6, ageMs: day });
    assert.deepEqual(await snapshots.list('db'), []);
    const [first, second] = [bookmarkOf(now - 10), bookmarkOf(now)];
    await snapshots.take('db', source('first'), first);
    await snapshots.take('db', source('second'), second);
    assert.deepEqual(await snapshots.list('db'), [first, second]);
    const copy = await snapshots.copy('db', first);
    assert.deepEqual(readdirSync(copy).sort(), [name, `${name}-wal`]);
    assert.equal(readFileSync(join(copy, name), 'utf8'), 'first');
    assert.deepEqual(await snapshots.list('db'), [first, second]);
    await snapshots.remove('db');
    assert.deepEqual(await snapshots.list('db'), []);
    assert.equal(timeOf(second), now);
  });

  it('go when they are old, many or large, the oldest first', async () => {
    const snapshots = openDatabaseSnapshots(join(directory, 'two'), { count: 4, bytes: 60, ageMs: day });
    const small = Array.from({ length: 6 }, (_, i) => bookmarkOf(now - 1000 + i));
    await snapshots.take('db', source('old'), bookmarkOf(now - 2 * day));
    assert.deepEqual(await snapshots.list('db'), []);
    for (const bookmark of small) await snapshots.take('db', source('x'), bookmark);
    assert.deepEqual(await snapshots.list('db'), small.slice(2));
    const large = [bookmarkOf(now), bookmarkOf(now + 1)];
    for (const bookmark of large) await snapshots.take('db', source('x'.repeat(100)), bookmark);
    assert.deepEqual(await snapshots.list('db'), large);
  });

  it('are not made of what a link leads to, and leave nothing when they fail', async () => {
    const snapshots = openDatabaseSnapshots(join(directory, 'three'), { count: 4, bytes: 1e6, ageMs: day });
    const secret = join(directory, 'secret');
    writeFileSync(secret, 'secret');
    const linked = mkdtempSync(join(directory, 'linked-'));
    symlinkSync(secret, join(linked, name));
    await assert.rejects(snapshots.take('db', linked, bookmarkOf(now)), /ELOOP/);
    const toDirectory = join(directory, 'link');
    symlinkSync(source('x'), toDirectory);
    await assert.rejects(snapshots.take('db', toDirectory, bookmarkOf(now)), /ELOOP|ENOTDIR/);
    const odd = mkdtempSync(join(directory, 'odd-'));
    mkdirSync(join(odd, name));
    await assert.rejects(snapshots.take('db', odd, bookmarkOf(now)), /is not a file/);
    assert.ok(existsSync(join(directory, 'three', 'db')));
    assert.deepEqual(readdirSync(join(directory, 'three', 'db')), []);
  });
});
