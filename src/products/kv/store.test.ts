/** What KV keeps: against a plain map by random operations with restarts in between, and what happens to values of any size. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { after, describe, it, mock } from 'node:test';
import fc from 'fast-check';
import type { Blobs } from '../../state/blobs.ts';
import { openFileBlobs } from '../../state/file-blobs.ts';
import { ledgerKey, nameOf } from '../../state/ordered-keys.ts';
import { openThreadedLedger } from '../../state/threaded-ledger.ts';
import { KV, type KvError } from './limits.ts';
import { KvStore, type KvValue } from './store.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-kv-'));
after(() => rmSync(directory, { recursive: true }));
let count = 0;

async function open(at = join(directory, String(count++))) {
  const blobs: Blobs = await openFileBlobs(join(at, 'blobs'));
  const ledger = await openThreadedLedger(join(at, 'blobs', 'kv.sqlite'));
  const store = new KvStore(ledger, blobs);
  /** Files of values. */
  const files = () =>
    readdirSync(join(at, 'blobs'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /^[0-9a-f]{64}$/.test(entry.name))
      .map(({ parentPath, name }) => join(parentPath, name));
  return { at, store, ledger, files, close: () => ledger.close() };
}

const whole = async (value: KvValue | null) =>
  value && (value.body instanceof Readable ? await buffer(value.body) : value.body);
const put = (
  store: KvStore,
  key: string,
  value: string | Buffer,
  more: { expiration?: number; metadata?: string } = {},
) => store.put('ns', [{ key, value: Buffer.from(value), ...more }]);

describe('a value', () => {
  for (const size of [0, 1, 8 * 1024, 8 * 1024 + 1, 300_000, KV.valueBytes]) {
    it(`of ${size} bytes comes back as it went in, and leaves no file when it goes`, async () => {
      const { store, files, close } = await open();
      const value = randomBytes(size);
      await put(store, 'k', value);
      const got = await store.get('ns', 'k');
      assert.equal(got!.size, size);
      assert.ok(value.equals((await whole(got))!));
      assert.equal(files().length, size > 8 * 1024 ? 1 : 0);
      await put(store, 'k', randomBytes(size));
      assert.equal(files().length, size > 8 * 1024 ? 1 : 0);
      await store.delete('ns', ['k']);
      assert.equal(await store.get('ns', 'k'), null);
      assert.deepEqual(files(), []);
      await close();
    });
  }

  it('that comes as a stream is the same, and one that breaks off or is too long leaves nothing', async () => {
    const { store, files, close } = await open();
    const pieces = (count: number) =>
      Readable.from(Array.from({ length: count }, () => Buffer.alloc(1024 * 1024, 'x')));
    await store.put('ns', [{ key: 'k', value: pieces(3) }]);
    assert.equal((await whole(await store.get('ns', 'k')))!.length, 3 * 1024 * 1024);
    await assert.rejects(store.put('ns', [{ key: 'l', value: pieces(26) }]), (error: KvError) => error.status === 413);
    const broken = Readable.from(
      (async function* () {
        yield Buffer.alloc(20_000);
        throw new Error('the client left');
      })(),
    );
    await assert.rejects(store.put('ns', [{ key: 'k', value: broken }]), /left/);
    assert.equal((await store.get('ns', 'k'))!.size, 3 * 1024 * 1024);
    assert.equal(files().length, 1);
    await close();
  });

  it('that was damaged on disk is not given out as if it were whole', async () => {
    const { store, files, close } = await open();
    await put(store, 'k', randomBytes(100_000));
    const [file] = files();
    truncateSync(file!, statSync(file!).size - 1);
    await assert.rejects(store.get('ns', 'k').then(whole), /corrupt|hash|damaged/i);
    await close();
  });

  it('ends at its expiration, and the sweep removes it', async () => {
    const { store, files, ledger, close } = await open();
    const now = Math.floor(Date.now() / 1000);
    await put(store, 'soon', randomBytes(10_000), { expiration: now + 100 });
    await put(store, 'later', 'x', { expiration: now + 1000 });
    mock.timers.enable({ apis: ['Date'], now: (now + 100) * 1000 });
    try {
      assert.equal(await store.get('ns', 'soon'), null);
      assert.deepEqual((await store.list('ns', { limit: 10 })).keys, [{ name: 'later', expiration: now + 1000 }]);
      await store.sweep(async () => undefined);
    } finally {
      mock.timers.reset();
    }
    assert.deepEqual(files(), []);
    assert.equal((await ledger.list('')).length, 1);
    await close();
  });
});

describe('namespaces', () => {
  it('do not see each other, and one is cleared alone', async () => {
    const { store, files, close } = await open();
    for (const namespace of ['a', 'aa', 'b']) {
      await store.put(namespace, [
        { key: 'k', value: Buffer.from(namespace) },
        { key: 'large', value: randomBytes(10_000) },
      ]);
    }
    await store.clear('a');
    assert.equal(await store.get('a', 'k'), null);
    assert.deepEqual(await store.list('a', { limit: 10 }), { keys: [], next: null });
    assert.equal(String(await whole(await store.get('aa', 'k'))), 'aa');
    assert.equal(files().length, 2);
    await close();
  });
});

describe('a list', () => {
  it('is cut into pages that hold each key once, whatever expired between them', async () => {
    const { store, close } = await open();
    const now = Math.floor(Date.now() / 1000);
    const names = Array.from({ length: 1_200 }, (_, i) => `k${String(i).padStart(4, '0')}`);
    await store.put(
      'ns',
      names.map((key, i) => ({ key, value: Buffer.from('x'), ...(i % 3 === 0 && { expiration: now - 1 }) })),
    );
    const seen: string[] = [];
    for (let after: string | undefined; ; ) {
      const { keys, next } = await store.list('ns', { limit: 77, after });
      assert.ok(keys.length <= 77);
      seen.push(...keys.map(({ name }) => name));
      if (next === null) break;
      after = next;
    }
    assert.deepEqual(
      seen,
      names.filter((_, i) => i % 3 !== 0),
    );
    await close();
  });
});

const anyKey = fc.oneof(
  fc.string({ unit: 'binary', minLength: 1, maxLength: 6 }),
  fc.string({
    unit: fc.constantFrom('\0', '\u0001', '\u0002', '\u{10FFFE}', '\u{10FFFF}', 'a', '/'),
    minLength: 1,
    maxLength: 5,
  }),
);

it('keys keep their order by bytes, and come back', () => {
  fc.assert(
    fc.property(anyKey, anyKey, (a, b) => {
      assert.equal(nameOf(ledgerKey('ns', a), 'ns'), a);
      const stored = Buffer.compare(Buffer.from(ledgerKey('ns', a)), Buffer.from(ledgerKey('ns', b)));
      assert.equal(stored, Buffer.compare(Buffer.from(a), Buffer.from(b)));
    }),
    { numRuns: 2_000 },
  );
});

type Operation =
  | { do: 'put'; key: string; value: Uint8Array; metadata?: unknown }
  | { do: 'delete'; keys: string[] }
  | { do: 'list'; prefix: string; limit: number }
  | { do: 'restart' };

it('is a map with sorted keys, whatever is done to it in whatever order', async () => {
  const key = fc.oneof(fc.constantFrom('a', 'ab', 'a/b', 'b', 'ü'), anyKey);
  const operation: fc.Arbitrary<Operation> = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        do: fc.constant('put' as const),
        key,
        value: fc.oneof(fc.uint8Array({ maxLength: 20 }), fc.constant(new Uint8Array(9_000))),
        metadata: fc.option(fc.jsonValue({ maxDepth: 1 }), { nil: undefined }),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('delete' as const), keys: fc.array(key, { maxLength: 3 }) }) },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant('list' as const),
        prefix: fc.constantFrom('', 'a', 'a/', '\u{10FFFF}'),
        limit: fc.integer({ min: 1, max: 4 }),
      }),
    },
    { weight: 1, arbitrary: fc.constant({ do: 'restart' as const }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 30 }), async (operations) => {
      const model = new Map<string, { value: Buffer; metadata: unknown }>();
      let opened = await open();
      for (const operation of operations) {
        if (operation.do === 'restart') {
          await opened.close();
          opened = await open(opened.at);
        } else if (operation.do === 'put') {
          const { key, metadata } = operation;
          const value = Buffer.from(operation.value);
          await put(opened.store, key, value, metadata === undefined ? {} : { metadata: JSON.stringify(metadata) });
          model.set(key, { value, metadata });
        } else if (operation.do === 'delete') {
          await opened.store.delete('ns', operation.keys);
          for (const key of operation.keys) model.delete(key);
        } else {
          const { prefix, limit } = operation;
          const expected = [...model.keys()]
            .filter((key) => key.startsWith(prefix))
            .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
          const { keys, next } = await opened.store.list('ns', { prefix, limit });
          assert.deepEqual(
            keys.map(({ name }) => name),
            expected.slice(0, limit),
          );
          assert.equal(next !== null, expected.length > limit);
        }
      }
      for (const [key, { value, metadata }] of model) {
        const got = await opened.store.get('ns', key);
        assert.ok(value.equals((await whole(got))!));
        assert.deepEqual(
          got!.metadata === null ? undefined : JSON.parse(got!.metadata),
          metadata === undefined ? undefined : JSON.parse(JSON.stringify(metadata)),
        );
      }
      assert.equal(opened.files().length, [...model.values()].filter(({ value }) => value.length > 8 * 1024).length);
      await opened.close();
    }),
    { numRuns: 40 },
  );
});
