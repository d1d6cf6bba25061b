import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, it } from 'node:test';
import { networkOf, search, toNumber } from './asn.ts';

describe('the network of an address', () => {
  it('is found in the package’s data', async () => {
    assert.deepEqual(await networkOf('1.0.0.1'), { asn: 13335, asOrganization: 'Cloudflare, Inc.' });
    assert.equal((await networkOf('8.8.8.8')).asn, 15169);
    assert.equal((await networkOf('2001:4860:4860::8888')).asn, 15169);
  });

  it('is unknown where the data has none', async () => {
    assert.deepEqual(await networkOf('0.0.0.1'), {});
    assert.deepEqual(await networkOf('255.255.255.255'), {});
    assert.deepEqual(await networkOf('::'), {});
    assert.deepEqual(await networkOf('ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'), {});
  });

  it('is the same by halves as by reading every line', () => {
    const csv = readFileSync(createRequire(import.meta.url).resolve('@ip-location-db/asn/asn-ipv4-num.csv'));
    const lines = csv.toString().trim().split('\n');
    for (let i = 0; i < lines.length; i += 997) {
      const [start, end, asn] = lines[i]!.split(',');
      for (const number of [start!, end!]) assert.equal(search(csv, BigInt(number)).asn, Number(asn), lines[i]);
    }
  });

  it('is found in small files, at their ends and not in their gaps', () => {
    const csv = Buffer.from('10,19,1,One\n30,39,2,"Two, Inc. ""Z"""\n40,49,3,Three');
    const found = [9, 10, 19, 20, 29, 30, 39, 40, 49, 50].map((number) => search(csv, BigInt(number)).asn);
    assert.deepEqual(found, [undefined, 1, 1, undefined, undefined, 2, 2, 3, 3, undefined]);
    assert.equal(search(csv, 35n).asOrganization, 'Two, Inc. "Z"');
    assert.deepEqual(search(Buffer.alloc(0), 1n), {});
  });

  it('takes every form of an address', () => {
    assert.equal(toNumber('1.2.3.4'), 0x01020304n);
    assert.equal(toNumber('::1'), 1n);
    assert.equal(toNumber('2001:db8::ff00:42:8329'), 0x20010db8000000000000ff0000428329n);
    assert.equal(toNumber('fe80::1%eth0'), 0xfe800000000000000000000000000001n);
  });
});
