import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createIsSelf, LeadsToSelf, lookupWithoutSelf } from './self.ts';

const isSelf = createIsSelf([443, 8443], () => ['192.0.2.7', '2001:db8::7']);

describe("this machine's own edge", () => {
  for (const address of [
    '127.0.0.1',
    '127.3.2.1',
    '::1',
    '0.0.0.0',
    '::',
    '192.0.2.7',
    '::ffff:192.0.2.7',
    '2001:DB8::7',
  ]) {
    it(`is at ${address}`, () => {
      assert.equal(isSelf(address, 443), true);
      assert.equal(isSelf(address, 8443), true);
      assert.equal(isSelf(address, 5432), false, 'another service of the machine');
    });
  }
  it('is at no other address, and at no name', () => {
    for (const address of ['192.0.2.8', '2001:db8::8', 'localhost', '']) assert.equal(isSelf(address, 443), false);
  });

  const lookup = (found: string[], port: number, all: boolean) =>
    new Promise<unknown>((done) => {
      const list = found.map((address) => ({ address, family: 4 }));
      lookupWithoutSelf(
        (_name, options, callback) => (options.all ? callback(null, list) : callback(null, found[0]!, 4)),
        isSelf,
        port,
      )('x.example', { all }, (error, answer) => done(error ?? answer));
    });

  it('is left out of what a name resolves to', async () => {
    assert.deepEqual(await lookup(['192.0.2.7', '192.0.2.9'], 443, true), [{ address: '192.0.2.9', family: 4 }]);
    assert.ok((await lookup(['192.0.2.7'], 443, true)) instanceof LeadsToSelf);
    assert.ok((await lookup(['192.0.2.7'], 443, false)) instanceof LeadsToSelf);
    assert.equal(await lookup(['192.0.2.7'], 5432, false), '192.0.2.7');
  });
});
