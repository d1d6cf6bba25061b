/** What the cache keeps on disk and in memory, within its budget, over restarts, and when its files are damaged. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { after, it } from 'node:test';
import { layout } from '../../model/layout.ts';
import { type Cache, openCache } from './open.ts';
import { type CacheKey, TooLarge } from './store.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-cache-'));
after(() => rmSync(directory, { recursive: true }));
let count = 0;
const MiB = 1024 * 1024;
const fresh = () => join(directory, String(count++));
const open = (at: string, diskBytes = 64 * MiB, memoryBytes = MiB) => openCache(at, { diskBytes, memoryBytes });

const key = (url: string, scope = 'zone/a'): CacheKey => ({ scope, namespace: '', url });
const entry = (seconds = 60) => ({
  status: 200,
  statusText: 'OK',
  headers: [['ETag', '"1"']] as [string, string][],
  storedAt: Date.now(),
  expiresAt: Date.now() + seconds * 1000,
});
async function* pieces(...bodies: Buffer[]) {
  yield* bodies;
}
async function read({ store }: Cache, which: CacheKey, range?: { start: number; end: number }) {
  const found = store.find(which);
  const body = found && (await store.body(which, found, range));
  return body instanceof Readable ? buffer(body) : body;
}
/** Files of bodies. */
const files = (at: string) =>
  readdirSync(layout(at).cacheBlobs, { recursive: true, encoding: 'utf8' })
    .filter((name) => /[0-9a-f]{64}$/.test(name))
    .map((name) => join(layout(at).cacheBlobs, name));

for (const size of [0, 1, 1000, 3 * MiB]) {
  it(`a body of ${size} bytes comes back, whole and in part, also after a restart`, async () => {
    const at = fresh();
    const body = randomBytes(size);
    let cache = await open(at);
    await cache.store.put(key('u'), entry(), pieces(body));
    for (let i = 0; i < 2; i++) {
      assert.ok(body.equals((await read(cache, key('u')))!));
      if (size > 10) assert.ok(body.subarray(3, 9).equals((await read(cache, key('u'), { start: 3, end: 8 }))!));
      assert.deepEqual(cache.store.find(key('u'))!.headers, [['ETag', '"1"']]);
      await cache.close();
      cache = await open(at);
    }
    await cache.close();
  });
}

it('entries of other scopes, namespaces and URLs are other entries', async () => {
  const cache = await open(fresh());
  await cache.store.put(key('u', 'zone/a'), entry(), pieces(Buffer.from('a')));
  assert.equal(cache.store.find(key('u', 'zone/b')), null);
  assert.equal(cache.store.find({ ...key('u'), namespace: 'n' }), null);
  assert.equal(cache.store.find(key('u?')), null);
  assert.equal(cache.store.delete(key('u', 'zone/b')), false);
  assert.equal(cache.store.delete(key('u', 'zone/a')), true);
  assert.equal(cache.store.find(key('u', 'zone/a')), null);
  await cache.close();
});

it('what is replaced, deleted or expired leaves no file', async () => {
  const at = fresh();
  const cache = await open(at);
  await cache.store.put(key('a'), entry(), pieces(randomBytes(1000)));
  await cache.store.put(key('a'), entry(), pieces(Buffer.from('second')));
  await cache.store.put(key('b'), entry(), pieces(randomBytes(1000)));
  await cache.store.put(key('c'), entry(-1), pieces(randomBytes(1000)));
  assert.equal(cache.store.find(key('c')), null);
  cache.store.delete(key('b'));
  await cache.store.settled();
  assert.equal(files(at).length, 1);
  assert.equal(String(await read(cache, key('a'))), 'second');
  await cache.close();
  const again = await open(at);
  assert.equal(again.store.find(key('b')), null);
  assert.equal(String(await read(again, key('a'))), 'second');
  await again.close();
});

it('what was used longest ago goes when the budget is full', async () => {
  const at = fresh();
  const cache = await open(at, 20 * MiB);
  for (let i = 0; i < 4; i++) await cache.store.put(key(`u${i}`), entry(), pieces(randomBytes(4 * MiB)));
  assert.ok(cache.store.find(key('u0')));
  await cache.store.put(key('u4'), entry(), pieces(randomBytes(4 * MiB)));
  await cache.store.settled();
  const left = [0, 1, 2, 3, 4].filter((i) => cache.store.find(key(`u${i}`)));
  assert.deepEqual(left, [0, 2, 3, 4]);
  assert.equal(files(at).length, 4);
  await cache.close();
});

it('a body that is too large, or breaks off, is not kept, and what was there stays', async () => {
  const at = fresh();
  const cache = await open(at, 16 * MiB);
  await cache.store.put(key('u'), entry(), pieces(Buffer.from('first')));
  const large = Array.from({ length: 5 }, () => Buffer.alloc(MiB));
  await assert.rejects(cache.store.put(key('u'), entry(), pieces(...large)), TooLarge);
  const broken = (async function* () {
    yield Buffer.alloc(10);
    throw new Error('gone');
  })();
  await assert.rejects(cache.store.put(key('u'), entry(), broken), /gone/);
  assert.equal(String(await read(cache, key('u'))), 'first');
  assert.equal(files(at).length, 1);
  await cache.close();
});

it('a body that was damaged is a miss, and gone', async () => {
  const at = fresh();
  let cache = await open(at);
  await cache.store.put(key('small'), entry(), pieces(randomBytes(1000)));
  await cache.store.put(key('large'), entry(), pieces(randomBytes(2 * MiB)));
  await cache.close();
  for (const file of files(at)) truncateSync(file, 100);
  cache = await open(at);
  for (const url of ['small', 'large']) {
    assert.equal(await read(cache, key(url)), null);
    assert.equal(cache.store.find(key(url)), null);
  }
  await cache.close();
});

it('an index that was damaged is thrown away', async () => {
  const at = fresh();
  let cache = await open(at);
  await cache.store.put(key('u'), entry(), pieces(Buffer.from('x')));
  await cache.close();
  writeFileSync(layout(at).cache, 'no database at all'.repeat(1000));
  cache = await open(at);
  assert.equal(cache.store.find(key('u')), null);
  await cache.store.put(key('u'), entry(), pieces(Buffer.from('y')));
  assert.equal(String(await read(cache, key('u'))), 'y');
  await cache.close();
});
