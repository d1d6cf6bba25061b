/** What R2 keeps: against a simple model by random operations, through two openings as two processes have, with restarts in between. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { it } from 'node:test';
import fc from 'fast-check';
import type { Conditions } from './conditions.ts';
import type { Bucket } from './documents.ts';
import type { R2Error } from './limits.ts';
import { decodeCursor, encodeCursor, listObjects, type Position } from './listing.ts';
import type { R2 } from './open.ts';
import { FOLDERS } from './strays.ts';
import { GARBAGE_MS } from './sweep.ts';
import { chunked, MiB, newBucket, openTimes, PLAIN, whole } from './testing.ts';

const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');
const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));
const LARGE = randomBytes(5 * MiB);
const LARGER = randomBytes(5 * MiB + 1);

const anyKey = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('a', 'a/b', 'a/c', 'a/b/c', 'b', 'ü', '/', '//', 'a\0b') },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', minLength: 1, maxLength: 6 }) },
  {
    weight: 1,
    arbitrary: fc.string({
      unit: fc.constantFrom('\0', '\u0001', '\u0002', '\uffff', '\u{10FFFE}', '\u{10FFFF}', 'a', '/'),
      minLength: 1,
      maxLength: 5,
    }),
  },
);
const body = fc.oneof(
  { weight: 9, arbitrary: fc.uint8Array({ maxLength: 20 }) },
  { weight: 1, arbitrary: fc.constant(LARGE.subarray(0, MiB + 7)) },
);
const part = fc.oneof(
  { weight: 3, arbitrary: fc.uint8Array({ maxLength: 20 }) },
  { weight: 1, arbitrary: fc.constantFrom(LARGE, LARGER) },
);
const which = fc.nat({ max: 2 });
const via = fc.nat({ max: 1 });
const number = fc.integer({ min: 1, max: 3 });
const is = <T extends string>(name: T) => fc.constant(name);
const operation = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: is('put'),
      via,
      key: anyKey,
      body,
      custom: fc.string({ unit: 'binary', maxLength: 3 }),
      only: fc.constantFrom('always', 'new', 'known', 'other', 'not known'),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: is('delete'), via, keys: fc.array(anyKey, { maxLength: 3 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: is('list'),
      via,
      prefix: fc.oneof(fc.constantFrom('', 'a', 'a/', '\u{10FFFF}', '\0'), anyKey),
      delimiter: fc.constantFrom('', '/', 'b/', '\0', '\u{10FFFF}'),
      limit: fc.integer({ min: 1, max: 4 }),
      startAfter: fc.option(anyKey, { nil: undefined }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: is('create'), via, key: anyKey }) },
  { weight: 4, arbitrary: fc.record({ do: is('part'), via, which, number, body: part }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: is('complete'),
      via,
      which,
      numbers: fc.oneof(
        { weight: 3, arbitrary: fc.constant(null) },
        { weight: 1, arbitrary: fc.array(number, { maxLength: 3 }) },
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: is('abort'), via, which }) },
  { weight: 1, arbitrary: fc.record({ do: is('restart') }) },
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

interface Kept {
  bytes: Buffer;
  etag: string;
  custom: string;
  /** On disk. */
  files: number;
}

/** What R2 is, said simply. */
class Model {
  readonly objects = new Map<string, Kept>();
  readonly uploads: { id: string; key: string; parts: Map<number, Buffer> }[] = [];

  entries(prefix: string, delimiter: string, startAfter = ''): string[] {
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && byBytes(key, startAfter) > 0);
    const entries = keys.map((key) => {
      const at = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
      return at < 0 ? `key ${key}` : `prefix ${key.slice(0, at + delimiter.length)}`;
    });
    return [...new Set(entries)].sort((a, b) => byBytes(a.replace(/^\w+ /, ''), b.replace(/^\w+ /, '')));
  }

  /** The object of these parts, or the error that there has to be. */
  complete(parts: Map<number, Buffer>, numbers: number[]): Kept | string {
    if (numbers.length === 0) return 'InvalidPart';
    for (const [index, number] of numbers.entries()) {
      if (index > 0 && number <= numbers[index - 1]!) return 'InvalidPartOrder';
      if (!parts.has(number)) return 'InvalidPart';
    }
    const bodies = numbers.map((number) => parts.get(number)!);
    const [first] = bodies;
    for (const each of bodies.slice(0, -1)) {
      if (each.length < 5 * MiB) return 'EntityTooSmall';
      if (each.length !== first!.length) return 'UnequalParts';
    }
    if (bodies.at(-1)!.length > first!.length) return 'UnequalParts';
    const hashes = Buffer.concat(bodies.map((each) => Buffer.from(md5(each), 'hex')));
    const files = bodies.filter(({ length }) => length > 0).length;
    return { bytes: Buffer.concat(bodies), etag: `${md5(hashes)}-${bodies.length}`, custom: '', files };
  }
}

function conditionOf(only: string, known: Kept | undefined): [Conditions | undefined, holds: boolean] {
  const tag = (value: string) => [{ value, type: 'strong' as const }];
  const etag = known?.etag ?? 'none';
  switch (only) {
    case 'new':
      return [{ etagDoesNotMatch: [{ value: '', type: 'wildcard' }] }, !known];
    case 'known':
      return [{ etagMatches: tag(etag) }, known !== undefined];
    case 'other':
      return [{ etagMatches: tag('f'.repeat(32)) }, false];
    case 'not known':
      return [{ etagDoesNotMatch: tag(etag) }, !known];
    default:
      return [undefined, true];
  }
}

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => 'no error',
    (error: R2Error) => error.error ?? error.stack,
  );

/** All pages of a list, each as its entries in order. */
async function pages(r2: R2, bucket: Bucket, asked: Extract<Operation, { do: 'list' }>): Promise<string[][]> {
  const all: string[][] = [];
  for (let after: Position | undefined = asked.startAfter === undefined ? undefined : { key: asked.startAfter }; ; ) {
    const { prefix, delimiter, limit } = asked;
    const page = await listObjects(r2.ledger, bucket, { prefix, delimiter, limit, ...(after && { after }) });
    const entries = [...page.objects.map(({ key }) => `key ${key}`), ...page.prefixes.map((each) => `prefix ${each}`)];
    all.push(entries.sort((a, b) => byBytes(a.replace(/^\w+ /, ''), b.replace(/^\w+ /, ''))));
    if (!page.next) return all;
    after = decodeCursor(encodeCursor(page.next));
  }
}

/** Does it to both; asserts that they answer alike. */
async function apply(r2: R2, bucket: Bucket, model: Model, operation: Operation): Promise<void> {
  switch (operation.do) {
    case 'put': {
      const { key, only, custom } = operation;
      const [conditions, holds] = conditionOf(only, model.objects.get(key));
      const metadata = { ...PLAIN, custom: [['c', custom] as [string, string]] };
      const stored = await r2.objects.put(bucket, key, chunked(operation.body), { metadata, conditions });
      assert.equal(stored !== null, holds);
      const bytes = Buffer.from(operation.body);
      if (holds) model.objects.set(key, { bytes, etag: md5(bytes), custom, files: bytes.length > 0 ? 1 : 0 });
      return;
    }
    case 'delete':
      await r2.objects.delete(bucket, operation.keys);
      for (const key of operation.keys) model.objects.delete(key);
      return;
    case 'list': {
      const found = await pages(r2, bucket, operation);
      const { prefix, delimiter, limit, startAfter } = operation;
      assert.deepEqual(found.flat(), model.entries(prefix, delimiter, startAfter));
      for (const page of found.slice(0, -1)) assert.equal(page.length, limit);
      assert.ok(found.at(-1)!.length <= limit);
      return;
    }
    case 'create': {
      const { id } = await r2.uploads.create(bucket, operation.key, PLAIN);
      model.uploads.push({ id, key: operation.key, parts: new Map() });
      return;
    }
    case 'part': {
      const upload = model.uploads[operation.which];
      if (!upload) return;
      const { number, body } = operation;
      const { etag } = await r2.uploads.uploadPart(bucket, upload.key, upload.id, number, chunked(body, MiB));
      assert.equal(etag, md5(body));
      upload.parts.set(number, Buffer.from(body));
      return;
    }
    case 'complete': {
      const upload = model.uploads[operation.which];
      if (!upload) return;
      const { id, key, parts } = upload;
      const numbers = operation.numbers ?? [...parts.keys()].sort();
      const named = numbers.map((number) => ({ number, etag: parts.has(number) ? md5(parts.get(number)!) : 'x' }));
      const expected = model.complete(parts, numbers);
      if (typeof expected === 'string') {
        return assert.equal(await failure(r2.uploads.complete(bucket, key, id, named)), expected);
      }
      assert.equal((await r2.uploads.complete(bucket, key, id, named))!.etag, expected.etag);
      model.objects.set(key, expected);
      model.uploads.splice(operation.which, 1);
      assert.equal(await failure(r2.uploads.complete(bucket, key, id, named)), 'NoSuchUpload');
      return;
    }
    case 'abort': {
      const [upload] = model.uploads.splice(operation.which, 1);
      if (!upload) return;
      await r2.uploads.abort(bucket, upload.key, upload.id);
      assert.equal(await failure(r2.uploads.abort(bucket, upload.key, upload.id)), 'NoSuchUpload');
    }
  }
}

it('is a map with sorted keys, whatever is done to it in whatever order, by whichever process', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 30, size: 'max' }), async (operations) => {
      const model = new Model();
      let state = await openTimes(2);
      let bucket = await newBucket(state.opened[0]!);
      for (const operation of operations) {
        if (operation.do === 'restart') {
          await state.close();
          state = await openTimes(2, state.dataDir);
          bucket = await state.opened[1]!.buckets.get(bucket.accountId, bucket.name);
        } else await apply(state.opened[operation.via]!, bucket, model, operation);
      }
      for (const r2 of state.opened) {
        for (const [key, { bytes, etag, custom }] of model.objects) {
          const found = (await r2.objects.find(bucket, key))!;
          assert.ok((await whole(r2.objects.read(found))).equals(bytes));
          assert.deepEqual([found.etag, found.size, found.custom[0]?.[1] ?? ''], [etag, bytes.length, custom]);
        }
        const listed = await r2.uploads.list(bucket);
        assert.deepEqual(listed.map(({ id }) => id).sort(), model.uploads.map(({ id }) => id).sort());
      }
      const [r2] = state.opened as [R2, R2];
      // A sweep corrects what is counted from one process; the other one's is on disk first.
      for (const { usage } of state.opened) usage.flush();
      const objects = [...model.objects.values()];
      assert.deepEqual(
        { storedBytes: 0, objects: 0, ...r2.usage.holds(bucket.id) },
        {
          storedBytes: objects.reduce((sum, { bytes }) => sum + bytes.length, 0),
          objects: objects.length,
        },
      );
      // All bodies are old then: none of them may be taken for a stray one.
      for (let i = 0; i < 2; i++) await r2.sweep(Date.now() + 2 * 86_400_000, FOLDERS);
      const parts = model.uploads.flatMap(({ parts }) => [...parts.values()]);
      const files = objects.reduce((sum, each) => sum + each.files, parts.filter(({ length }) => length > 0).length);
      assert.equal(state.files().length, files);
      for (const upload of model.uploads) await r2.uploads.abort(bucket, upload.key, upload.id);
      if (model.objects.size > 0) await r2.objects.delete(bucket, [...model.objects.keys()]);
      await r2.buckets.remove(bucket.accountId, bucket.name);
      await r2.sweep(Date.now() + GARBAGE_MS + 1000);
      assert.deepEqual(state.files(), []);
      assert.deepEqual(await r2.ledger.list(''), []);
      await state.close();
    }),
    { numRuns: 25 },
  );
});
