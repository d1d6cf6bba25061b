import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseProxyHeader } from './proxy-protocol.ts';

const SIGNATURE = '0d0a0d0a000d0a515549540a';
const v2 = (rest: string) => Buffer.from(SIGNATURE + rest, 'hex');
const IPV6 = '20010db8000000000000000000000001';

describe('a PROXY protocol header', () => {
  for (const [what, bytes, ip] of [
    ['version 1, IPv4', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n'), '192.0.2.1'],
    ['version 1, IPv6', Buffer.from('PROXY TCP6 2001:db8::1 ::1 1 65535\r\n'), '2001:db8::1'],
    ['version 1, unknown', Buffer.from('PROXY UNKNOWN whatever\r\n'), null],
    ['version 2, IPv4', v2('2111000cc0000201c6336402dc0401bb'), '192.0.2.1'],
    ['version 2, IPv4 with TLVs', v2('21110011c0000201c6336402dc0401bb0400020000'), '192.0.2.1'],
    ['version 2, IPv6', v2(`21210024${IPV6}${IPV6}000101bb`), '2001:db8::1'],
    ['version 2, local', v2('20000000'), null],
    ['version 2, unix socket', v2('21310002abcd'), null],
  ] as const) {
    it(`may be ${what}, and ends where it ends`, () => {
      const header = parseProxyHeader(Buffer.concat([bytes, Buffer.from('GET / HTTP/1.1\r\n')]));
      assert.deepEqual(header, { ip, length: bytes.length });
    });

    it(`of ${what} needs all of its bytes`, () => {
      for (let i = 1; i < bytes.length; i++) assert.equal(parseProxyHeader(bytes.subarray(0, i)), undefined, String(i));
    });
  }

  for (const [what, bytes] of [
    ['a request', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['a ClientHello', Buffer.from('1603010200', 'hex')],
    ['a line without an end', Buffer.from(`PROXY TCP4 ${'1'.repeat(200)}`)],
    ['an address of the other family', Buffer.from('PROXY TCP4 ::1 ::1 1 2\r\n')],
    ['a port that is none', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n')],
    ['a port with a zero before it', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n')],
    ['a line with more', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n')],
    ['an unknown family', Buffer.from('PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n')],
    ['version 3', v2('3111000cc0000201c6336402dc0401bb')],
    ['an unknown command', v2('2211000cc0000201c6336402dc0401bb')],
    ['too short an address', v2('21110004c0000201')],
    ['too long a header', v2('2111ffff')],
  ] as const) {
    it(`is not ${what}`, () => {
      assert.throws(() => parseProxyHeader(bytes));
    });
  }
});
