import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseListen, printListen } from './listen.ts';

describe('an address to listen on', () => {
  for (const [text, address] of [
    ['127.0.0.1:8080', { kind: 'tcp', host: '127.0.0.1', port: 8080 }],
    ['[::1]:443', { kind: 'tcp', host: '::1', port: 443 }],
    ['[::]:0', { kind: 'tcp', host: '::', port: 0 }],
    ['unix:/run/selvedge/http.sock', { kind: 'unix', path: '/run/selvedge/http.sock' }],
    ['systemd:https', { kind: 'systemd', name: 'https' }],
  ] as const) {
    it(`may be ${text}`, () => {
      assert.deepEqual(parseListen(text), address);
      assert.equal(printListen(parseListen(text)), text);
    });
  }

  it('without a host is every address, IPv6 and IPv4', () => {
    assert.deepEqual(parseListen(':80'), { kind: 'tcp', host: '::', port: 80 });
  });

  for (const text of [
    '',
    '80',
    'localhost:80',
    '1.2.3.4',
    '1.2.3.4:70000',
    '::1:80',
    '[1.2.3.4]:80',
    '1.2.3:80',
    'unix:relative',
    'unix:',
    `unix:/${'x'.repeat(107)}`,
    'systemd:',
    'systemd:a b',
    '1.2.3.4:80 ',
  ]) {
    it(`is not ${JSON.stringify(text.slice(0, 20))}`, () => {
      assert.throws(() => parseListen(text), /: |no address/);
    });
  }
});
