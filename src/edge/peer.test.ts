import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { network } from './connections.ts';
import { readForwarded, trustedProxies } from './peer.ts';

const trusted = trustedProxies(['10.0.0.0/8', 'fd00::/8', '192.0.2.1']);
const read = (...raw: string[]) => readForwarded(raw, trusted);

describe('what a trusted proxy says of its client', () => {
  it('is the last address that is no proxy of ours', () => {
    assert.equal(read('X-Forwarded-For', '6.6.6.6, 198.51.100.7, 10.1.1.1').ip, '198.51.100.7');
    assert.equal(read('X-Forwarded-For', '6.6.6.6', 'x-forwarded-for', '198.51.100.7, fd00::1').ip, '198.51.100.7');
    assert.equal(read('X-Forwarded-For', '10.1.1.2, 10.1.1.1').ip, '10.1.1.2');
  });

  it('ends at what is no address: nothing before it can be trusted', () => {
    assert.equal(read('X-Forwarded-For', '6.6.6.6, unknown').ip, undefined);
    assert.equal(read('X-Forwarded-For', '6.6.6.6, evil, 10.1.1.1').ip, '10.1.1.1');
    assert.equal(read('X-Forwarded-For', '').ip, undefined);
    assert.equal(read().ip, undefined);
  });

  it('may have ports and IPv6', () => {
    assert.equal(read('X-Forwarded-For', '198.51.100.7:4711').ip, '198.51.100.7');
    assert.equal(read('X-Forwarded-For', '2001:db8::7').ip, '2001:db8::7');
    assert.equal(read('X-Forwarded-For', '::ffff:198.51.100.7').ip, '198.51.100.7');
  });

  it('is Forwarded before X-Forwarded-For', () => {
    const raw = [
      'Forwarded',
      'for=6.6.6.6, for="[2001:db8::7]:4711";proto=https;by=10.0.0.1',
      'X-Forwarded-For',
      '7.7.7.7',
    ];
    assert.deepEqual(read(...raw), { ip: '2001:db8::7', scheme: 'https' });
    assert.equal(read('Forwarded', 'for="_hidden, for=6.6.6.6"').ip, undefined);
    assert.equal(read('Forwarded', 'for=6.6.6.6;proto=http, for=unknown').ip, undefined);
  });

  it('has a scheme, if it is one', () => {
    assert.equal(read('X-Forwarded-Proto', 'HTTPS').scheme, 'https');
    assert.equal(read('X-Forwarded-Proto', 'http, https').scheme, 'https');
    assert.equal(read('X-Forwarded-Proto', 'gopher').scheme, undefined);
  });
});

it('the network of an address is itself, or the /64 of IPv6', () => {
  assert.equal(network('192.0.2.1'), '192.0.2.1');
  assert.equal(network('2001:db8:1:2:3:4:5:6'), '2001:db8:1:2');
  assert.equal(network('2001:db8::5:6'), '2001:db8:0:0');
  assert.equal(network('::1'), '0:0:0:0');
  assert.equal(network('fe80::1%eth0'), 'fe80:0:0:0');
});
