import assert from 'node:assert/strict';
import type { LookupAddress } from 'node:dns';
import { describe, it } from 'node:test';
import { AddressRefused, createAddresses, type Resolve } from './addresses.ts';

const PRIVATE = [
  ['this network', '0.0.0.0', '0.1.2.3'],
  ['RFC 1918', '10.0.0.1', '10.255.255.255', '172.16.0.1', '172.31.255.255', '192.168.1.1'],
  ['carrier-grade NAT', '100.64.0.1', '100.127.255.255'],
  ['loopback', '127.0.0.1', '127.255.255.254', '::1', '0:0:0:0:0:0:0:1'],
  ['link-local and metadata', '169.254.169.254', 'fe80::1', 'fe80::1%eth0', 'febf::1'],
  ['protocol assignments', '192.0.0.8'],
  ['documentation', '192.0.2.1', '198.51.100.7', '203.0.113.9', '2001:db8::1'],
  ['benchmarks', '198.18.0.1', '198.19.255.255'],
  ['multicast', '224.0.0.1', '239.255.255.255', 'ff02::1'],
  ['reserved and broadcast', '240.0.0.1', '255.255.255.255'],
  ['unspecified', '::', '::0.0.0.0'],
  ['IPv4-compatible', '::127.0.0.1', '::8.8.8.8'],
  ['v4-mapped private', '::ffff:127.0.0.1', '::ffff:7f00:1', '::FFFF:10.0.0.1', '0:0:0:0:0:ffff:a9fe:a9fe'],
  ['NAT64 private', '64:ff9b::127.0.0.1', '64:ff9b::a00:1', '64:ff9b:1::1'],
  ['6to4 private', '2002:7f00:1::', '2002:c0a8:101::1'],
  ['unique local', 'fc00::1', 'fd00:ec2::254'],
  ['site-local', 'fec0::1'],
  ['Teredo', '2001:0:1::1'],
  ['no address at all', 'localhost', '', '127.1', '0x7f.1', '1.2.3.4.5', '::g'],
] as const;
const PUBLIC = ['1.1.1.1', '8.8.8.8', '100.63.255.255', '100.128.0.1', '172.15.0.1', '172.32.0.1', '2606:4700::1111'];
const PUBLIC_INSIDE = ['::ffff:8.8.8.8', '64:ff9b::8.8.8.8', '2002:808:808::1'];

describe('addresses that Workers may reach', () => {
  const addresses = createAddresses([]);
  for (const [what, ...list] of PRIVATE) {
    it(`refuses ${what}: ${list.join(', ')}`, () => {
      for (const address of list) assert.equal(addresses.isAllowed(address), false, address);
    });
  }
  it('allows public addresses, and public ones inside mapped, NAT64 and 6to4 addresses', () => {
    for (const address of [...PUBLIC, ...PUBLIC_INSIDE]) assert.equal(addresses.isAllowed(address), true, address);
  });
  it('allows the ranges of the operator, in mapped form too, and nothing beside them', () => {
    const allowed = createAddresses(['10.1.0.0/16', 'fd00::/8', '192.168.7.7']);
    for (const address of ['10.1.2.3', '::ffff:10.1.2.3', 'fd12::1', '192.168.7.7']) {
      assert.equal(allowed.isAllowed(address), true, address);
    }
    for (const address of ['10.2.0.1', 'fc00::1', '192.168.7.8']) assert.equal(allowed.isAllowed(address), false);
  });
  it('refuses a setting that is no address range', () => {
    for (const text of ['10.0.0.0/33', 'localhost', '10.0.0.0/', '10.0.0.0/8/8', '::/129', '/8', '10/8']) {
      assert.throws(() => createAddresses([text]), /not an address range/, text);
    }
  });
  it('checks hosts that are addresses, in brackets or not, and leaves names to the lookup', () => {
    for (const host of ['127.0.0.1', '[::1]', '::1']) {
      assert.throws(() => addresses.checkLiteral(host), AddressRefused, host);
    }
    for (const host of ['example.com', '[2606:4700::1111]', '1.1.1.1']) addresses.checkLiteral(host);
  });
});

describe('the lookup of names', () => {
  const resolver = (...answer: string[]): Resolve => {
    const list: LookupAddress[] = answer.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
    return (_hostname, _options, callback) => callback(null, list);
  };
  const lookup = (resolve: Resolve, all: boolean) =>
    new Promise<unknown>((done) => {
      createAddresses([], resolve).lookup('x.example', { all }, (error, found, family) =>
        done(error ?? (all ? found : [found, family])),
      );
    });

  it('refuses a name that resolves to private addresses only', async () => {
    assert.ok((await lookup(resolver('127.0.0.1', '::1'), true)) instanceof AddressRefused);
    assert.ok((await lookup(resolver('169.254.169.254'), false)) instanceof AddressRefused);
    assert.ok((await lookup(resolver(), true)) instanceof AddressRefused);
  });
  it('answers only the public ones of mixed addresses', async () => {
    assert.deepEqual(await lookup(resolver('10.0.0.1', '1.1.1.1'), true), [{ address: '1.1.1.1', family: 4 }]);
    assert.deepEqual(await lookup(resolver('10.0.0.1', '2606:4700::1'), false), ['2606:4700::1', 6]);
  });
  it('passes on why a name does not resolve', async () => {
    const failing: Resolve = (_hostname, _options, callback) =>
      callback(Object.assign(new Error('no'), { code: 'ENOTFOUND' }), []);
    assert.equal(((await lookup(failing, true)) as NodeJS.ErrnoException).code, 'ENOTFOUND');
  });
});
