/** What every driver of Ledger has to do. Called by the driver's own test file. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Change, type Ledger, MAX_DOCUMENT_BYTES, RevisionConflict } from './ledger.ts';

/** `open` gives a fresh, empty ledger, and another handle to the same one, as another process would have. */
export function ledgerConformance(
  name: string,
  open: () => Promise<{ ledger: Ledger; again: () => Promise<Ledger> }>,
): void {
  describe(`${name} as a Ledger`, () => {
    it('gives back what was put, with a rising revision', async () => {
      const { ledger } = await open();
      const first = await ledger.put('a/1', { n: 1 });
      const second = await ledger.put('a/1', { n: 2, text: 'grüße' });
      assert.ok(second > first);
      assert.deepEqual(await ledger.get('a/1'), { key: 'a/1', value: { n: 2, text: 'grüße' }, revision: second });
      assert.equal(await ledger.sequence(), second);
      assert.equal(await ledger.get('a/2'), null);
    });

    it('writes only over the revision that was expected', async () => {
      const { ledger } = await open();
      const revision = await ledger.put('a', 1, 0);
      await assert.rejects(ledger.put('a', 2, 0), RevisionConflict);
      await assert.rejects(ledger.put('a', 2, revision + 1), RevisionConflict);
      await assert.rejects(ledger.delete('a', revision + 1), RevisionConflict);
      await ledger.put('a', 2, revision);
      assert.equal((await ledger.get('a'))?.value, 2);
    });

    it('lets one of many writers win who read the same revision', async () => {
      const { ledger } = await open();
      const revision = await ledger.put('a', 0);
      const results = await Promise.allSettled(Array.from({ length: 20 }, (_, i) => ledger.put('a', i, revision)));
      assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
    });

    it('forgets what was deleted and lets it be created again', async () => {
      const { ledger } = await open();
      await ledger.put('a', 1);
      await ledger.delete('a');
      await ledger.delete('a');
      assert.equal(await ledger.get('a'), null);
      assert.deepEqual(await ledger.list(''), []);
      await ledger.put('a', 2, 0);
      assert.equal((await ledger.get('a'))?.value, 2);
    });

    it('lists by prefix in order of keys, in pages', async () => {
      const { ledger } = await open();
      for (const key of ['b/2', 'a/1', 'b/10', 'b/1', 'b', 'b0', 'b/ü', 'c/1']) await ledger.put(key, key);
      const all = (await ledger.list('b/')).map(({ key }) => key);
      assert.deepEqual(all, ['b/1', 'b/10', 'b/2', 'b/ü']);
      const page = await ledger.list('b/', { limit: 2 });
      const next = await ledger.list('b/', { after: page.at(-1)!.key });
      assert.deepEqual(
        [...page, ...next].map(({ key }) => key),
        all,
      );
    });

    it('refuses documents that are too large or nothing', async () => {
      const { ledger } = await open();
      await assert.rejects(ledger.put('a', 'x'.repeat(MAX_DOCUMENT_BYTES)), RangeError);
      await assert.rejects(ledger.put('a', null), TypeError);
      assert.equal(await ledger.get('a'), null);
    });

    it('refuses keys that would not come back as they went in', async () => {
      const { ledger } = await open();
      for (const key of ['', 'a\0b', 'a\ud800', 'x'.repeat(5000)]) await assert.rejects(ledger.put(key, 1), TypeError);
      assert.deepEqual(await ledger.list(''), []);
    });

    it('writes many at once, and checks all of them first', async () => {
      const { ledger } = await open();
      await ledger.put('b', 0);
      await ledger.write([
        { key: 'a', value: 1 },
        { key: 'b', value: null },
        { key: 'c', value: { n: 3 } },
        { key: 'never', value: null },
      ]);
      assert.deepEqual(
        (await ledger.list('')).map(({ key, value }) => [key, value]),
        [
          ['a', 1],
          ['c', { n: 3 }],
        ],
      );
      const wrong = [
        { key: 'd', value: 1 },
        { key: 'a\0', value: 1 },
      ];
      await assert.rejects(ledger.write(wrong), TypeError);
      assert.equal(await ledger.get('d'), null);
      await ledger.write([]);
    });

    it('writes all of many, or none if one is not in the revision that was expected', async () => {
      const { ledger } = await open();
      const revision = await ledger.put('a', 1);
      const writes = (expected: number) => [
        { key: 'b', value: 2, expected: 0 },
        { key: 'never', expected: 0 },
        { key: 'a', value: null, expected },
        { key: 'c', value: 3 },
      ];
      await assert.rejects(ledger.write(writes(revision + 1)), RevisionConflict);
      assert.deepEqual(
        (await ledger.list('')).map(({ key }) => key),
        ['a'],
      );
      await ledger.write(writes(revision));
      assert.deepEqual(
        (await ledger.list('')).map(({ key }) => key),
        ['b', 'c'],
      );
      await assert.rejects(
        ledger.write([
          { key: 'd', value: 1 },
          { key: 'b', expected: 0 },
        ]),
        RevisionConflict,
      );
      assert.equal(await ledger.get('d'), null);
      const races = await Promise.allSettled(
        Array.from({ length: 20 }, (_, i) =>
          ledger.write([
            { key: 'one', value: i, expected: 0 },
            { key: `by-${i}`, value: i },
          ]),
        ),
      );
      assert.equal(races.filter(({ status }) => status === 'fulfilled').length, 1);
      assert.equal((await ledger.list('by-')).length, 1);
    });

    it('takes writes from many sides at once, each with its own revision', async () => {
      const { ledger } = await open();
      const revisions = await Promise.all(Array.from({ length: 100 }, (_, i) => ledger.put(`k/${i}`, i)));
      assert.equal(new Set(revisions).size, 100);
      for (const { key, revision } of await ledger.list('k/')) assert.equal(revisions[Number(key.slice(2))], revision);
    });

    it('forgets old deletions, and nothing else', async () => {
      const { ledger } = await open();
      await ledger.put('a', 1);
      await ledger.put('b', 1);
      await ledger.delete('b');
      const upTo = await ledger.sequence();
      await ledger.put('c', 1);
      await ledger.delete('c');
      await ledger.compact(upTo);
      const seen: Change[] = [];
      const done = Promise.withResolvers<void>();
      const stop = ledger.watch(0, (changes) => {
        seen.push(...changes);
        if (seen.some(({ key }) => key === 'c')) done.resolve();
      });
      await done.promise;
      stop();
      assert.deepEqual(
        seen.map(({ key, value }) => [key, value]),
        [
          ['a', 1],
          ['c', null],
        ],
      );
    });

    it('tells a follower of all that was written before and after, in order, once', async () => {
      const { ledger } = await open();
      await ledger.put('a', 1);
      const from = await ledger.put('b', 1);
      await ledger.put('c', 1);
      const seen: Change[] = [];
      const done = Promise.withResolvers<void>();
      const stop = ledger.watch(from, (changes) => {
        seen.push(...changes);
        if (seen.some(({ key }) => key === 'end')) done.resolve();
      });
      await ledger.put('d', 1);
      await ledger.delete('a');
      await ledger.put('end', 1);
      await done.promise;
      stop();
      assert.deepEqual(
        seen.map(({ key, value }) => [key, value]),
        [
          ['c', 1],
          ['d', 1],
          ['a', null],
          ['end', 1],
        ],
      );
      const sequences = seen.map(({ sequence }) => sequence);
      assert.deepEqual(
        sequences,
        [...new Set(sequences)].sort((a, b) => a - b),
      );
    });

    it('tells a follower of the writes of other processes', async () => {
      const { ledger, again } = await open();
      const other = await again();
      const seen = Promise.withResolvers<unknown>();
      const stop = ledger.watch(await ledger.sequence(), ([change]) => seen.resolve(change?.value));
      await other.put('a', 'from the other one');
      assert.equal(await seen.promise, 'from the other one');
      stop();
      await other.close();
    });

    it('has everything that was acknowledged when it is opened again', async () => {
      const { ledger, again } = await open();
      for (let i = 0; i < 50; i++) await ledger.put(`k/${i}`, i);
      await ledger.close();
      const reopened = await again();
      assert.equal((await reopened.list('k/')).length, 50);
      await reopened.close();
    });
  });
}
