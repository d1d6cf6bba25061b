/** What R2 does by itself: rules of buckets, bytes that nobody names, uploads that nobody completes, and the true sums. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import { type Bucket, keys, type LifecycleRule, type StoredObject } from './documents.ts';
import { LifecycleRules } from './lifecycle.ts';
import type { R2 } from './open.ts';
import { FOLDERS, Strays } from './strays.ts';
import { GARBAGE_MS, sweep } from './sweep.ts';
import { chunked, newBucket, openTimes, PLAIN, whole } from './testing.ts';

const { opened, files } = await openTimes(2);
const [r2, other] = opened as [R2, R2];
const MINUTE = 60_000;
const DAY = 86_400_000;
const start = Date.now();

const put = (bucket: Bucket, key: string, bytes = Buffer.from(key)) =>
  r2.objects.put(bucket, key, chunked(bytes), { metadata: PLAIN });

async function bucketWith(rules: (Partial<LifecycleRule> & { prefix?: string })[], names: string[]): Promise<Bucket> {
  const { accountId, name } = await newBucket(r2);
  const lifecycle = LifecycleRules.parse(
    rules.map(({ prefix = '', ...rule }, i) => ({ id: `rule ${i}`, conditions: { prefix }, ...rule })),
  ) as LifecycleRule[];
  const bucket = await r2.buckets.change(accountId, name, { lifecycle });
  for (const key of names) await put(bucket, key);
  return bucket;
}

const left = async (bucket: Bucket) =>
  (await r2.ledger.list<StoredObject>(`${keys.objects(bucket.id)}/`)).map(({ key }) =>
    key.split('/').slice(2).join('/'),
  );
const age = (days: number) => ({ condition: { type: 'Age' as const, maxAge: days * 86_400 } });

describe('a rule', () => {
  it('deletes objects of its prefix when they are old enough, and not before', async () => {
    const bucket = await bucketWith([{ prefix: 'logs/', deleteObjectsTransition: age(30) }], ['logs/a', 'logs', 'b']);
    await r2.sweep(start + 30 * DAY - MINUTE);
    assert.equal((await left(bucket)).length, 3);
    await r2.sweep(Date.now() + 30 * DAY);
    assert.deepEqual(await left(bucket), ['b', 'logs']);
  });

  it('deletes from a date on', async () => {
    const date = new Date(start + 10 * DAY).toISOString();
    const bucket = await bucketWith([{ deleteObjectsTransition: { condition: { type: 'Date', date } } }], ['a']);
    await r2.sweep(start + 10 * DAY - 1);
    assert.deepEqual(await left(bucket), ['a']);
    await r2.sweep(start + 10 * DAY);
    assert.deepEqual(await left(bucket), []);
  });

  it('does nothing while it is disabled, and lets another one do what it would', async () => {
    const off = { enabled: false, deleteObjectsTransition: age(1) };
    const bucket = await bucketWith([off, { prefix: 'x', deleteObjectsTransition: age(2) }], ['a', 'x']);
    await r2.sweep(Date.now() + 3 * DAY);
    assert.deepEqual(await left(bucket), ['a']);
  });

  it('changes the class of storage, and nothing else of the object', async () => {
    const rule = { storageClassTransitions: [{ ...age(5), storageClass: 'InfrequentAccess' as const }] };
    const bucket = await bucketWith([{ ...rule, prefix: 'cold/' }], ['cold/a', 'warm']);
    const before = (await r2.objects.find(bucket, 'cold/a'))!;
    await r2.sweep(start + 5 * DAY - MINUTE);
    assert.deepEqual(await r2.objects.find(bucket, 'cold/a'), before);
    await r2.sweep(Date.now() + 5 * DAY);
    const after = (await r2.objects.find(bucket, 'cold/a'))!;
    assert.deepEqual(after, { ...before, storageClass: 'InfrequentAccess' });
    assert.equal(String(await whole(r2.objects.read(after))), 'cold/a');
    assert.equal((await r2.objects.find(bucket, 'warm'))!.storageClass, 'Standard');
  });

  it('does not delete what is written anew while it is looked at', async () => {
    const bucket = await bucketWith([{ deleteObjectsTransition: age(1) }], ['a', 'b']);
    let written = false;
    const objects = Object.create(r2.objects, {
      removeVersion: {
        async value(...args: Parameters<R2['objects']['removeVersion']>) {
          if (!written && args[1] === 'a') await put(bucket, 'a', Buffer.from('new'));
          written = true;
          return r2.objects.removeVersion(...args);
        },
      },
    });
    await sweep({ ...r2, objects, pause: async () => undefined }, Date.now() + DAY);
    assert.deepEqual(await left(bucket), ['a']);
    assert.equal(String(await whole(r2.objects.read((await r2.objects.find(bucket, 'a'))!))), 'new');
    await r2.objects.delete(bucket, ['a']);
  });

  it('goes through more objects than one page has', async () => {
    const bucket = await bucketWith([{ prefix: 'old/', deleteObjectsTransition: age(1) }], []);
    const names = Array.from({ length: 1_100 }, (_, i) => `${i % 2 ? 'old' : 'new'}/${i}`);
    await Promise.all(names.map((key) => put(bucket, key, Buffer.alloc(0))));
    await r2.sweep(Date.now() + DAY);
    assert.equal((await left(bucket)).length, 550);
    assert.deepEqual({ ...r2.usage.holds(bucket.id) }, { storedBytes: 0, objects: 550 });
    await Promise.all(names.map((key) => r2.objects.delete(bucket, [key])));
  });
});

describe('an upload', () => {
  const upload = async (bucket: Bucket, key: string) => {
    const { id } = await r2.uploads.create(bucket, key, PLAIN);
    await r2.uploads.uploadPart(bucket, key, id, 1, chunked(Buffer.from('part')));
    return id;
  };
  const open = async (bucket: Bucket) => (await r2.uploads.list(bucket)).map(({ key }) => key);

  it('that nobody completes is given up after 7 days, or what a rule says if that is less', async () => {
    const rule = { prefix: 'soon/', abortMultipartUploadsTransition: { condition: age(2).condition } };
    const longer = { prefix: 'late/', abortMultipartUploadsTransition: { condition: age(30).condition } };
    const bucket = await bucketWith([rule, longer, { ...rule, enabled: false, prefix: '' }], []);
    const since = Date.now();
    for (const key of ['a', 'late/a', 'soon/a']) await upload(bucket, key);
    const before = files().length;
    await r2.sweep(since + 2 * DAY - MINUTE);
    assert.deepEqual(await open(bucket), ['a', 'late/a', 'soon/a']);
    await r2.sweep(Date.now() + 2 * DAY);
    assert.deepEqual(await open(bucket), ['a', 'late/a']);
    assert.equal(files().length, before - 1);
    await r2.sweep(since + 7 * DAY - MINUTE);
    assert.equal((await open(bucket)).length, 2);
    await r2.sweep(Date.now() + 7 * DAY);
    assert.deepEqual(await open(bucket), []);
    assert.equal(files().length, before - 3);
  });

  it('of a bucket that is no more goes; one of a bucket that was made while the sweep runs stays', async () => {
    const gone = await newBucket(r2);
    await upload(gone, 'a');
    await r2.buckets.remove(gone.accountId, gone.name);
    // Something to pause at.
    await bucketWith([], ['x']);
    const late: { bucket?: Bucket; id?: string } = {};
    const pause = async () => {
      if (late.bucket) return;
      late.bucket = await newBucket(other);
      late.id = await upload(late.bucket, 'new');
    };
    await sweep({ ...r2, pause }, Date.now());
    assert.deepEqual(await open(gone), []);
    assert.deepEqual(await open(late.bucket!), ['new']);
    assert.equal((await r2.uploads.parts(late.id!)).length, 1);
    await r2.uploads.abort(late.bucket!, 'new', late.id!);
  });

  it('whose end was broken off leaves parts, which go', async () => {
    const bucket = await newBucket(r2);
    const ids = [await upload(bucket, 'ended'), await upload(bucket, 'goes on')];
    const before = files().length;
    await r2.ledger.delete(keys.upload(bucket.id, ids[0]!));
    await r2.sweep();
    assert.deepEqual(await r2.uploads.parts(ids[0]!), []);
    assert.equal((await r2.uploads.parts(ids[1]!)).length, 1);
    assert.equal(files().length, before - 1);
  });
});

describe('bytes that nobody names', () => {
  it('are removed 15 minutes after they were replaced, and not before', async () => {
    const bucket = await newBucket(r2);
    const before = files().length;
    for (const text of ['one', 'two', 'three']) await put(bucket, 'k', Buffer.from(text));
    await r2.objects.delete(bucket, ['k']);
    const since = Date.now();
    await r2.sweep(since + GARBAGE_MS - MINUTE);
    assert.equal(files().length, before + 3);
    await r2.sweep(since + GARBAGE_MS + 1000);
    assert.equal(files().length, before);
    assert.deepEqual(await r2.ledger.list(keys.garbages), []);
  });

  it('of more objects than one page has go, too', async () => {
    const bucket = await newBucket(r2);
    const before = files().length;
    const names = Array.from({ length: 600 }, (_, i) => String(i));
    await Promise.all(names.map((key) => put(bucket, key)));
    await r2.objects.delete(bucket, names);
    await r2.sweep(Date.now() + GARBAGE_MS + 1000);
    assert.equal(files().length, before);
  });
});

describe('bodies that no document names, as a killed process leaves them', () => {
  /** On disk, a day old. */
  async function stray(text: string): Promise<string> {
    const { piece } = await r2.bodies.write(chunked(Buffer.from(text)), { maxBytes: 1000 });
    return r2.blobs.path(piece!.blob);
  }
  const searched = (at: number) => r2.sweep(at, FOLDERS);

  it('are removed a day later, when two sweeps found them', async () => {
    const path = await stray('lost');
    const old = Date.now() + DAY + MINUTE;
    for (let i = 0; i < 2; i++) await searched(old - 2 * MINUTE);
    assert.ok(existsSync(path));
    await searched(old);
    assert.ok(existsSync(path));
    await searched(old);
    assert.ok(!existsSync(path));
  });

  it('are found by the hour, one folder in each', async () => {
    const path = await stray('found by the hour');
    const folder = Number.parseInt(path.split('/').at(-2)!, 16);
    const hour = 3_600_000;
    // The hour of its folder, some days from now.
    let at = Math.ceil((Date.now() + DAY) / hour);
    while (at % 256 !== folder) at++;
    await r2.sweep((at - 1) * hour);
    await r2.sweep((at + 1) * hour);
    await r2.sweep((at + 2) * hour);
    assert.ok(existsSync(path));
    await r2.sweep(at * hour);
    await r2.sweep((at + 1) * hour);
    assert.ok(!existsSync(path));
  });

  it('stay if they get a document before the second sweep', async () => {
    const bucket = await newBucket(r2);
    const { piece, size } = await r2.bodies.write(chunked(Buffer.from('late')), { maxBytes: 1000 });
    const old = Date.now() + DAY + MINUTE;
    await searched(old);
    const object = (await put(bucket, 'k'))!;
    await r2.objects.commit(bucket, 'k', { ...object, version: 'f'.repeat(32), size, body: piece });
    await searched(old);
    assert.equal(String(await whole(r2.objects.read((await r2.objects.find(bucket, 'k'))!))), 'late');
    await r2.objects.delete(bucket, ['k']);
  });

  it('are none of those of objects, parts, garbage, or of an upload that is completed while the sweep looks', async () => {
    const bucket = await newBucket(r2);
    await put(bucket, 'k');
    const size = 5 * 1024 * 1024;
    const { id } = await r2.uploads.create(bucket, 'parts', PLAIN);
    const parts: { number: number; etag: string }[] = [];
    for (const number of [1, 2]) {
      parts.push(await r2.uploads.uploadPart(bucket, 'parts', id, number, chunked(Buffer.alloc(size, number))));
    }
    const open = await r2.uploads.create(bucket, 'open', PLAIN);
    await r2.uploads.uploadPart(bucket, 'open', open.id, 1, chunked(Buffer.from('open')));
    const old = Date.now() + DAY + MINUTE;
    // Garbage that is too young for this sweep.
    const key = keys.garbage(old, 'a'.repeat(32));
    const garbage = await r2.bodies.write(chunked(Buffer.from('garbage')), { maxBytes: 1000 });
    await r2.ledger.put(key, { version: 'a'.repeat(32), body: garbage.piece });
    let step = 0;
    const pause = async () => {
      if (step++ === 0) await other.uploads.complete(bucket, 'parts', id, parts);
    };
    const strays = new Strays(r2.ledger, r2.blobs, pause);
    for (let i = 0; i < 3; i++) await sweep({ ...r2, strays, pause: async () => undefined }, old, FOLDERS);
    assert.ok(step > 1);
    const object = (await r2.objects.find(bucket, 'parts'))!;
    assert.equal((await whole(r2.objects.read(object))).length, 2 * size);
    assert.equal(String(await whole(r2.objects.read((await r2.objects.find(bucket, 'k'))!))), 'k');
    const [part] = await r2.uploads.parts(open.id);
    assert.equal(String(await whole(r2.bodies.read([part!.piece!], 0, 3))), 'open');
    assert.equal(String(await whole(r2.bodies.read([garbage.piece!], 0, 6))), 'garbage');
    await r2.objects.delete(bucket, ['parts', 'k']);
  });
});

describe('what a bucket holds', () => {
  it('is counted anew, whatever was written down before', async () => {
    const bucket = await newBucket(r2);
    for (const key of ['a', 'bb']) await put(bucket, key);
    r2.usage.count(bucket, { storedBytes: 1_000_000, objects: -7 });
    assert.equal(r2.usage.holds(bucket.id)!.objects, -5);
    await r2.sweep();
    assert.deepEqual({ ...r2.usage.holds(bucket.id) }, { storedBytes: 3, objects: 2 });
  });
});
