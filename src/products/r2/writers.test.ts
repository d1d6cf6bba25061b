/** Who writes the same at once, through two openings as two processes have: one of them wins, and nobody's bytes go missing. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { it } from 'node:test';
import type { Ledger } from '../../state/ledger.ts';
import { Bodies } from './bodies.ts';
import type { StoredObject, Upload } from './documents.ts';
import type { R2Error } from './limits.ts';
import { Objects } from './objects.ts';
import type { R2 } from './open.ts';
import { GARBAGE_MS } from './sweep.ts';
import { chunked, MiB, newBucket, openTimes, PLAIN, whole } from './testing.ts';
import { Uploads } from './uploads.ts';

const { opened, files, close } = await openTimes(2);
const [one, two] = opened as [R2, R2];
const put = (
  r2: R2,
  bucket: Parameters<R2['objects']['put']>[0],
  key: string,
  bytes: Uint8Array,
  conditions?: object,
) => r2.objects.put(bucket, key, chunked(bytes), { metadata: PLAIN, ...(conditions && { conditions }) });
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => 'no error',
    (error: R2Error) => error.error ?? error.message,
  );
const swept = () => one.sweep(Date.now() + GARBAGE_MS + 1000);

it('one of many creators of a key wins, and the others leave nothing', async () => {
  const bucket = await newBucket(one);
  const onlyNew = { etagDoesNotMatch: [{ value: '', type: 'wildcard' }] };
  const bodies = Array.from({ length: 30 }, () => randomBytes(1000));
  const results = await Promise.all(bodies.map((each, i) => put(opened[i % 2]!, bucket, 'once', each, onlyNew)));
  const winners = results.flatMap((result, i) => (result ? [i] : []));
  assert.equal(winners.length, 1);
  assert.ok((await whole(two.objects.read((await two.objects.find(bucket, 'once'))!))).equals(bodies[winners[0]!]!));
  assert.equal(files().length, 1);
  await one.objects.delete(bucket, ['once']);
  await swept();
});

it('of many writers of a key each is acknowledged, one is there at last, and what is counted is right', async () => {
  const bucket = await newBucket(one);
  const sizes = Array.from({ length: 40 }, (_, i) => i * 100);
  await Promise.all(sizes.map((size, i) => put(opened[i % 2]!, bucket, 'k', Buffer.alloc(size, i))));
  const last = (await one.objects.find(bucket, 'k'))!;
  assert.ok((await whole(one.objects.read(last))).every((byte) => byte === last.size / 100));
  for (const { usage } of opened) usage.flush();
  assert.deepEqual({ ...one.usage.holds(bucket.id) }, { storedBytes: last.size, objects: 1 });
  await swept();
  assert.equal(files().length, last.size === 0 ? 0 : 1);
  await one.objects.delete(bucket, ['k']);
  await swept();
  assert.deepEqual(files(), []);
});

it('who reads an object while it is replaced gets the old one whole', async () => {
  const bucket = await newBucket(one);
  const [old, next] = [randomBytes(3 * MiB), randomBytes(3 * MiB)];
  const seen = (await put(one, bucket, 'k', old))!;
  const reading = two.objects.read(seen);
  const first = (await reading.next()).value as Buffer;
  await put(one, bucket, 'k', next);
  assert.ok(Buffer.concat([first, await whole(reading)]).equals(old));
  assert.ok((await whole(two.objects.read(seen))).equals(old));
  await one.objects.delete(bucket, ['k']);
  await swept();
});

it('a part that is replaced while its upload is completed is not taken out of the object', async () => {
  const bucket = await newBucket(one);
  const { id } = await one.uploads.create(bucket, 'k', PLAIN);
  const { etag } = await one.uploads.uploadPart(bucket, 'k', id, 1, chunked(Buffer.from('first')));
  let replaced = false;
  const meanwhile = async () => {
    // The parts were read, the object is not written yet.
    if (!replaced) await two.uploads.uploadPart(bucket, 'k', id, 1, chunked(Buffer.from('second')));
    replaced = true;
    return undefined;
  };
  const completing = one.uploads.complete(bucket, 'k', id, [{ number: 1, etag }], { composite: meanwhile });
  assert.equal(await failure(completing), 'InvalidPart');
  const [part] = await one.uploads.parts(id);
  const object = await one.uploads.complete(bucket, 'k', id, [{ number: 1, etag: part!.etag }]);
  assert.equal(String(await whole(one.objects.read(object!))), 'second');
  assert.equal(files().length, 1);
  await one.objects.delete(bucket, ['k']);
  await swept();
});

it('a part that comes while its upload is completed leaves nothing', async () => {
  const bucket = await newBucket(one);
  const { id } = await one.uploads.create(bucket, 'k', PLAIN);
  const { etag } = await one.uploads.uploadPart(bucket, 'k', id, 1, chunked(Buffer.from('first')));
  const late = async () => {
    await two.uploads.uploadPart(bucket, 'k', id, 2, chunked(Buffer.from('late')));
    return undefined;
  };
  assert.ok(await one.uploads.complete(bucket, 'k', id, [{ number: 1, etag }], { composite: late }));
  assert.equal(await failure(two.uploads.uploadPart(bucket, 'k', id, 3, chunked(Buffer.from('x')))), 'NoSuchUpload');
  assert.deepEqual(await one.uploads.parts(id), []);
  assert.equal(files().length, 1);
  await one.objects.delete(bucket, ['k']);
  await swept();
});

it('parts, completions and aborts of one upload at once leave one object, or none, and no files', async () => {
  const bucket = await newBucket(one);
  for (let round = 0; round < 20; round++) {
    const { id } = await one.uploads.create(bucket, 'k', PLAIN);
    const { etag } = await one.uploads.uploadPart(bucket, 'k', id, 1, chunked(Buffer.from('same')));
    const complete = (r2: R2) => failure(r2.uploads.complete(bucket, 'k', id, [{ number: 1, etag }]));
    const [completed, again, aborted] = await Promise.all([
      complete(one),
      complete(two),
      failure(round % 2 ? one.uploads.abort(bucket, 'k', id) : Promise.reject(new Error('not asked'))),
      failure(two.uploads.uploadPart(bucket, 'k', id, 1, chunked(Buffer.from('same')))),
      failure(one.uploads.uploadPart(bucket, 'k', id, 2, chunked(Buffer.from('other')))),
    ]);
    const object = await one.objects.find(bucket, 'k');
    assert.equal([completed, again, aborted].filter((each) => each === 'no error').length, 1);
    assert.equal(object !== null, aborted !== 'no error');
    if (object) assert.equal(String(await whole(one.objects.read(object))), 'same');
    await one.objects.delete(bucket, ['k']);
    await swept();
    assert.deepEqual(files(), []);
    assert.deepEqual(await one.ledger.list('part/'), []);
  }
});

it('a bucket is deleted empty, whoever writes into it or deletes it at the same time', async () => {
  let [deleted, full] = [0, 0];
  for (let round = 0; round < 40; round++) {
    const bucket = await newBucket(one);
    const results = await Promise.all([
      failure(put(one, bucket, 'k', Buffer.from('x'))),
      failure(two.buckets.remove(bucket.accountId, bucket.name)),
      failure(one.buckets.remove(bucket.accountId, bucket.name)),
      failure(two.buckets.change(bucket.accountId, bucket.name, { cors: [] })),
    ]);
    const [written, ...removed] = results;
    const isGone = (await one.buckets.find(bucket.accountId, bucket.name)) === null;
    if (written === 'no error') {
      assert.equal(isGone, false);
      assert.equal(String(await whole(two.objects.read((await two.objects.find(bucket, 'k'))!))), 'x');
      full++;
    } else assert.match(written!, /^(NoSuchBucket|ServiceUnavailable)$/);
    if (isGone) deleted++;
    for (const each of removed) assert.match(each, /^(no error|NoSuchBucket|BucketNotEmpty)$/);
    assert.equal(removed.slice(0, 2).filter((each) => each === 'no error').length, isGone ? 1 : 0);
  }
  assert.ok(deleted + full === 40, `${deleted} deleted, ${full} written`);
});

it('a bucket whose deletion was broken off is written again after ten seconds, and whoever began it cannot finish', async (t) => {
  const bucket = await newBucket(one);
  const key = `bucket/${bucket.accountId}/${bucket.name}`;
  const { revision } = (await one.ledger.get(key))!;
  const marked = await one.ledger.put(key, { ...bucket, deletingSince: Date.now() }, revision);
  assert.equal(await failure(put(one, bucket, 'k', Buffer.from('x'))), 'ServiceUnavailable');
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 10_000 });
  assert.equal(await failure(put(one, bucket, 'k', Buffer.from('x'))), 'no error');
  assert.equal(await failure(one.ledger.delete(key, marked)), `document ${key} was changed by another writer`);
  assert.equal((await one.buckets.get(bucket.accountId, bucket.name)).deletingSince, undefined);
});

it('a write that was durable although it failed keeps its bytes; one that was not leaves none', async () => {
  const bucket = await newBucket(one);
  const before = files().length;
  let fails: 'before' | 'after' = 'after';
  const broken: Ledger = Object.create(one.ledger, {
    write: {
      async value(writes: Parameters<Ledger['write']>[0]) {
        if (fails === 'after') await one.ledger.write(writes);
        throw new Error('the thread that writes has died');
      },
    },
    get: { value: one.ledger.get.bind(one.ledger) },
    list: { value: one.ledger.list.bind(one.ledger) },
    put: { value: one.ledger.put.bind(one.ledger) },
  });
  const bodies = new Bodies(one.blobs);
  const objects = new Objects(broken, bodies, { count: () => undefined });
  const uploads = new Uploads(broken, bodies, objects);
  const { id }: Upload = await uploads.create(bucket, 'k', PLAIN);
  const attempt = async () => {
    await assert.rejects(objects.put(bucket, 'k', chunked(Buffer.from(fails)), { metadata: PLAIN }), /has died/);
    await assert.rejects(uploads.uploadPart(bucket, 'k', id, 1, chunked(Buffer.from(fails))), /has died/);
  };
  await attempt();
  fails = 'before';
  await attempt();
  const object: StoredObject = (await two.objects.find(bucket, 'k'))!;
  assert.equal(String(await whole(two.objects.read(object))), 'after');
  const [part] = await two.uploads.parts(id);
  const completed = await two.uploads.complete(bucket, 'k', id, [{ number: 1, etag: part!.etag }]);
  assert.equal(String(await whole(two.objects.read(completed!))), 'after');
  assert.equal(files().length, before + 2);
  await bodies.close();
  await close();
});
