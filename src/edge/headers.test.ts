import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BadRequest, hostOf, readHead } from './headers.ts';

const read = (headers: string[], url = '/', method = 'GET', scheme: 'http' | 'https' = 'http') =>
  readHead(method, url, ['Host', 'a.example', ...headers], scheme);

describe('request headers', () => {
  for (const name of [
    'CF-Connecting-IP',
    'cf-anything',
    'X-Forwarded-Proto',
    'x-forwarded-anything',
    'X-Real-IP',
    'True-Client-IP',
    'Forwarded',
    'selvedge-cf',
    'SELVEDGE-proto',
    'Keep-Alive',
    'Proxy-Authorization',
    'Proxy-Connection',
    'TE',
    'Trailer',
    'Upgrade',
    'HTTP2-Settings',
    'Expect',
  ]) {
    it(`${name} does not reach the Worker`, () => assert.deepEqual(read([name, 'x']).pairs(), [['Host', 'a.example']]));
  }

  it('CDN-Loop reaches the Worker: RFC 8586, 2 wants it kept', () => {
    assert.deepEqual(read(['CDN-Loop', 'other; v=1', 'CDN-Loop', 'selvedge; loops=3']).pairs().slice(1), [
      ['CDN-Loop', 'other; v=1'],
      ['CDN-Loop', 'selvedge; loops=3'],
    ]);
  });

  it('keep their case, order and number', () => {
    const head = read(['X-B', '1', 'x-a', '2', 'X-B', '3']);
    assert.equal(head.lines, 'Host: a.example\r\nX-B: 1\r\nx-a: 2\r\nX-B: 3\r\n');
  });

  it('that any Connection header names are dropped', () => {
    const headers = [
      'Connection',
      'x-a, close',
      'X-A',
      '1',
      'Connection',
      'keep-alive',
      'connection',
      'X-B',
      'x-b',
      '2',
      'X-C',
      '3',
    ];
    assert.deepEqual(read(headers).pairs(), [
      ['Host', 'a.example'],
      ['X-C', '3'],
    ]);
  });

  it('cannot name Host away', () => {
    assert.deepEqual(read(['Connection', 'host, cf-ray']).pairs(), [['Host', 'a.example']]);
  });

  for (const [what, headers, length] of [
    ['no framing', [], 0],
    ['a length', ['Content-Length', '12'], 12],
    ['a length of nothing', ['Content-Length', '0'], 0],
    ['chunks', ['Transfer-Encoding', 'chunked'], null],
  ] as const) {
    it(`with ${what}: a body of ${length}`, () => assert.equal(read([...headers]).bodyLength, length));
  }
});

describe('the host', () => {
  for (const [authority, host] of [
    ['Shop.Example.COM', 'shop.example.com'],
    ['shop.example.com.', 'shop.example.com'],
    ['shop.example.com:8080', 'shop.example.com'],
    ['shop.example.com.:8080', 'shop.example.com'],
    ['[::1]:8080', '[::1]'],
    ['127.0.0.1', '127.0.0.1'],
    ['', ''],
    ['user@example.com', ''],
    ['a b', ''],
    ['example.com:port', ''],
    ['example.com/path', ''],
  ] as const) {
    it(`${JSON.stringify(authority)} -> ${JSON.stringify(host)}`, () => assert.equal(hostOf(authority), host));
  }

  it('loses the port that its scheme has anyway', () => {
    const host = (authority: string, scheme: 'http' | 'https') =>
      readHead('GET', '/', ['host', authority], scheme).pairs()[0]![1];
    assert.equal(host('a.example:80', 'http'), 'a.example');
    assert.equal(host('a.example:443', 'https'), 'a.example');
    assert.equal(host('a.example:80', 'https'), 'a.example:80');
  });
});

describe('the request target', () => {
  it('is taken apart, with the host of the absolute form', () => {
    const { host, path, target } = read([], 'http://A.example:81/p/q?x=/y');
    assert.deepEqual([host, path, target], ['a.example', '/p/q', '/p/q?x=/y']);
  });

  for (const [what, url, headers] of [
    ['a star', '*', []],
    ['no path', 'path', []],
    ['another scheme', 'ftp://a.example/', []],
    ['another host in the target', 'http://b.example/', []],
    ['a fragment', '/#x', []],
    ['two codings', '/', ['Transfer-Encoding', 'gzip, chunked']],
    ['two hosts', '/', ['Host', 'b.example']],
    ['a host that is none', 'http://%00/', []],
  ] as const) {
    it(`${what} is refused`, () => assert.throws(() => read([...headers], url), BadRequest));
  }
});
