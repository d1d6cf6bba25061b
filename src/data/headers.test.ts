import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { headerValue, toOrigin, toWorker } from './headers.ts';

describe('headers to the origin', () => {
  it('keeps what the Worker set, in order, repeated ones too', () => {
    const { headers } = toOrigin(['Accept', 'a', 'X-Thing', '1', 'x-thing', '2', 'Cookie', 'c=1'], 'z.example');
    assert.deepEqual(headers.slice(0, 8), ['Accept', 'a', 'X-Thing', '1', 'x-thing', '2', 'Cookie', 'c=1']);
  });
  it('removes what only an edge may say, and the Host that the Worker set', () => {
    const names = ['Host', 'CF-Connecting-IP', 'cf-ray', 'CF-Worker', 'X-Forwarded-For', 'X-Forwarded-Proto'];
    names.push('selvedge-cf', 'Selvedge-Anything', 'True-Client-IP', 'X-Real-IP', 'Expect');
    const { headers } = toOrigin(
      names.flatMap((name) => [name, 'forged']),
      'z.example',
    );
    assert.deepEqual(headers, ['CF-Worker', 'z.example', 'CDN-Loop', 'selvedge; loops=1']);
  });
  it('removes hop-by-hop headers and those that Connection names, but never Content-Length', () => {
    const raw = ['Connection', 'x-hop, content-length', 'X-Hop', '1', 'Content-Length', '3', 'TE', 'trailers'];
    raw.push('Keep-Alive', 'timeout=5', 'Transfer-Encoding', 'chunked', 'Upgrade', 'h2c', 'Proxy-Authorization', 'x');
    assert.deepEqual(toOrigin(raw, 'z').headers.slice(0, -4), ['Content-Length', '3']);
  });
  it('counts hops in CDN-Loop and keeps what other CDNs said', () => {
    const { headers, hops } = toOrigin(['CDN-Loop', 'other; v=1, Selvedge; loops=4', 'cdn-loop', 'third'], 'z');
    assert.equal(hops, 5);
    assert.equal(headerValue(headers, 'cdn-loop'), 'other; v=1, third, selvedge; loops=5');
  });
  it('counts each mention when the number is missing or forged', () => {
    for (const [value, hops] of [
      ['selvedge', 2],
      ['selvedge, selvedge; loops=2', 4],
      ['selvedge; loops=-5', 2],
      ['selvedge; loops=0', 2],
      ['selvedge; loops=99999999', 2],
    ] as const) {
      assert.equal(toOrigin(['cdn-loop', value], 'z').hops, hops, value);
    }
  });
});

describe('headers to the Worker', () => {
  it('keeps everything but hop-by-hop headers', () => {
    const raw = ['Set-Cookie', 'a=1', 'Set-Cookie', 'b=2', 'Connection', 'keep-alive, x-hop', 'X-Hop', '1'];
    raw.push('Keep-Alive', 'timeout=5', 'Date', 'd', 'Content-Encoding', 'gzip');
    assert.deepEqual(toWorker(raw), [
      'Set-Cookie',
      'a=1',
      'Set-Cookie',
      'b=2',
      'Date',
      'd',
      'Content-Encoding',
      'gzip',
    ]);
  });
});
