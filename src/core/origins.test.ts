import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { OriginServer } from '../model/documents.ts';
import { keys } from '../model/keys.ts';
import { type Answer, type Bench, openBench } from './testing.ts';

let bench: Bench;
let zone: string;
before(async () => {
  bench = await openBench();
  zone = (await bench.api('POST', '/zones', { name: 'example.com' })).result.id;
});
after(() => bench.close());

const code = ({ errors }: Answer) => errors[0]?.code;
const put = (host: string, url: string, token?: string) =>
  bench.api('PUT', `/zones/${zone}/selvedge/origins/${host}`, { url }, token);

describe('the origin of a host', () => {
  it('is set, replaced, listed and removed, and each is live before the answer', async () => {
    const before = bench.applied.length;
    assert.equal((await put('Shop.example.com', 'http://10.0.0.5:3000/')).result.url, 'http://10.0.0.5:3000');
    assert.equal((await put('shop.example.com', 'https://backend')).result.url, 'https://backend');
    const { result } = await bench.api('GET', `/zones/${zone}/selvedge/origins`);
    assert.deepEqual(
      result.map(({ hostname, url, zone_name }: any) => [hostname, url, zone_name]),
      [['shop.example.com', 'https://backend', 'example.com']],
    );
    const removed = await bench.api('DELETE', `/zones/${zone}/selvedge/origins/shop.example.com`);
    assert.deepEqual(removed.result, { hostname: 'shop.example.com' });
    assert.deepEqual((await bench.api('GET', `/zones/${zone}/selvedge/origins`)).result, []);
    assert.equal(bench.applied.length, before + 3);
    assert.equal(code(await bench.api('DELETE', `/zones/${zone}/selvedge/origins/shop.example.com`)), 10009);
  });

  it('is kept with its zone and account', async () => {
    await put('example.com', 'http://[fd00::5]:8080');
    const { value } = (await bench.ledger.get<OriginServer>(keys.origin('example.com')))!;
    assert.deepEqual(
      [value.accountId, value.zoneName, value.url],
      [bench.alice.id, 'example.com', 'http://[fd00::5]:8080'],
    );
  });

  for (const url of [
    '10.0.0.5',
    'ftp://a.example',
    'http://a.example/path',
    'http://u:p@a.example',
    'http://a b',
    'http://a_b.-c/?q',
  ]) {
    it(`may not be ${url}`, async () => assert.equal(code(await put('a.example.com', url)), 10001));
  }

  it('of a host outside the zone, or in the zone of another account, cannot be set', async () => {
    assert.equal(code(await put('other.example', 'http://a.example')), 10082);
    assert.equal(code(await put('a.example.com', 'http://a.example', bench.tokens.bob)), 7003);
    assert.equal(code(await bench.api('GET', `/zones/${zone}/selvedge/origins`, undefined, bench.tokens.bob)), 7003);
  });
});
