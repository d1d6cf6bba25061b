/** What every driver of Blobs has to do. Called by the driver's own test file. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import type { Blobs } from './blobs.ts';

const ABSENT = 'a'.repeat(64);

export function blobsConformance(name: string, open: () => Promise<Blobs>): void {
  describe(`${name} as Blobs`, () => {
    it('names content by its SHA-256 and gives it back', async () => {
      const blobs = await open();
      const bytes = randomBytes(100_000);
      const { hash, sizeBytes } = await blobs.put(bytes);
      assert.equal(hash, createHash('sha256').update(bytes).digest('hex'));
      assert.equal(sizeBytes, bytes.length);
      assert.deepEqual(await blobs.get(hash), bytes);
      assert.equal(await blobs.size(hash), bytes.length);
    });

    it('takes streams, and the same content twice', async () => {
      const blobs = await open();
      const first = await blobs.put(Readable.from([Buffer.from('hel'), Buffer.from('lo')]));
      assert.deepEqual(await blobs.put(Buffer.from('hello')), first);
      assert.equal((await blobs.get(first.hash))?.toString(), 'hello');
    });

    it('keeps nothing of a stream that fails', async () => {
      const blobs = await open();
      const broken = Readable.from(
        (async function* () {
          yield Buffer.from('begin');
          throw new Error('the client went away');
        })(),
      );
      await assert.rejects(blobs.put(broken), /the client went away/);
      assert.equal(await blobs.get(createHash('sha256').update('begin').digest('hex')), null);
    });

    it('streams the whole or a range, both ends included', async () => {
      const blobs = await open();
      const { hash } = await blobs.put(Buffer.from('0123456789'));
      assert.equal((await buffer((await blobs.stream(hash))!)).toString(), '0123456789');
      assert.equal((await buffer((await blobs.stream(hash, { start: 2, end: 4 }))!)).toString(), '234');
    });

    it('has nothing under a hash that was never put or was deleted', async () => {
      const blobs = await open();
      assert.equal(await blobs.get(ABSENT), null);
      assert.equal(await blobs.size(ABSENT), null);
      assert.equal(await blobs.stream(ABSENT), null);
      const { hash } = await blobs.put(Buffer.from('gone'));
      await blobs.delete(hash);
      await blobs.delete(hash);
      assert.equal(await blobs.get(hash), null);
    });

    it('refuses names that are no hashes', async () => {
      const blobs = await open();
      for (const name of ['../../etc/passwd', '', 'A'.repeat(64), `${ABSENT}/..`])
        await assert.rejects(blobs.get(name), TypeError);
    });
  });
}
