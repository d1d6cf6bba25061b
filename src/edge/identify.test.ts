import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { describe, it } from 'node:test';
import { placeOf } from './geo.ts';
import { identify, rayId } from './identify.ts';

const from = (remoteAddress: string) => identify({ remoteAddress } as Socket, 'HTTP/1.1', 'lhr');

describe('places', () => {
  for (const address of [
    '127.0.0.1',
    '10.1.2.3',
    '192.168.1.1',
    '100.64.0.1',
    '::1',
    'fd00::1',
    'fe80::1%eth0',
    '0.0.0.0',
    '::',
  ]) {
    it(`${address} is at no place, and no data is read for it`, () => assert.deepEqual(placeOf(address), {}));
  }

  for (const [address, country, continent] of [
    ['81.2.69.142', 'GB', 'EU'],
    ['2001:630::1', 'GB', 'EU'],
  ] as const) {
    it(`${address} is in ${country}`, async () => {
      const place = await placeOf(address);
      assert.deepEqual([place.country, place.continent, place.isEUCountry], [country, continent, undefined]);
      assert.match(place.latitude!, /^-?\d+\.\d{5}$/);
      assert.doesNotThrow(() => new Intl.DateTimeFormat('en', { timeZone: place.timezone }));
    });
  }
});

describe('a client', () => {
  it('has a country in its headers and its place in request.cf, without what is not known', async () => {
    const client = await from('::ffff:81.2.69.142');
    assert.equal(client.ip, '81.2.69.142');
    assert.ok(client.lines.includes('CF-IPCountry: GB\r\n'));
    const cf = JSON.parse(Buffer.from(client.cf, 'latin1').toString());
    assert.deepEqual([cf.country, cf.colo, cf.httpProtocol], ['GB', 'LHR', 'HTTP/1.1']);
    assert.ok(Number.isInteger(cf.asn) && cf.asOrganization.length > 0);
    assert.ok(!('isEUCountry' in cf));
  });

  it('is XX where its place is not known', () => {
    const client = from('10.0.0.1');
    assert.ok(!(client instanceof Promise) && client.lines.includes('CF-IPCountry: XX\r\n'));
  });

  it('sends header lines of bytes only, whatever its city is called', async () => {
    const client = await from('194.144.1.1');
    assert.doesNotMatch(client.lines, /[^\r\n\x20-\xff]/);
  });
});

it('ray ids are 16 hex digits, each another', () => {
  const ids = new Set(Array.from({ length: 2000 }, rayId));
  assert.equal(ids.size, 2000);
  for (const id of ids) assert.match(id, /^[0-9a-f]{16}$/);
});
