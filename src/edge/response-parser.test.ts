import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BadResponse, ResponseParser, UNCAUGHT } from './response-parser.ts';

/** Parses `wire` cut into pieces of `size` bytes and tells what was seen. */
function parse(wire: string, { method = 'GET', size = Infinity, close = false } = {}) {
  const seen = { status: 0, text: '', headers: [] as string[], body: '', ended: null as null | boolean };
  const parser = new ResponseParser(method, {
    onHead: (status, text, headers) => Object.assign(seen, { status, text, headers }),
    onData: (chunk) => {
      seen.body += chunk.toString('latin1');
    },
    onEnd: (reusable) => {
      seen.ended = reusable;
    },
  });
  const bytes = Buffer.from(wire, 'latin1');
  for (let at = 0; at < bytes.length; at += Math.min(size, bytes.length)) parser.push(bytes.subarray(at, at + size));
  const complete = close ? parser.end() : parser.done;
  return { ...seen, complete };
}

describe('responses of an isolate process', () => {
  for (const size of [1, 2, 3, 7, Infinity]) {
    it(`are the same in pieces of ${size} bytes`, () => {
      const length = parse('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\n\r\nhello', { size });
      assert.deepEqual(length, {
        status: 200,
        text: 'OK',
        headers: ['Content-Length', '5', 'X-A', '1'],
        body: 'hello',
        ended: true,
        complete: true,
      });
      const chunked = parse(
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nT: 1\r\n\r\n',
        { size },
      );
      assert.deepEqual([chunked.body, chunked.ended, chunked.headers], ['hello!', true, []]);
    });
  }

  it('end with the connection if they have no length', () => {
    const open = parse('HTTP/1.1 200 OK\r\n\r\nhel');
    assert.equal(open.complete, false);
    const closed = parse('HTTP/1.1 200 OK\r\n\r\nhello', { close: true });
    assert.deepEqual([closed.body, closed.ended, closed.complete], ['hello', false, true]);
  });

  it('are cut if the connection ends before their length', () => {
    assert.equal(parse('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello', { close: true }).complete, false);
  });

  it('have no body after HEAD, with 204 and with 304', () => {
    assert.equal(parse('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n', { method: 'HEAD' }).complete, true);
    assert.equal(parse('HTTP/1.1 204 No Content\r\n\r\n').complete, true);
    assert.equal(parse('HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n').complete, true);
  });

  it('follow interim ones', () => {
    assert.equal(
      parse('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n').status,
      200,
    );
  });

  it('lose the headers of the connection and keep it only if it is not closed', () => {
    const seen = parse('HTTP/1.1 200 OK\r\nConnection: close\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n');
    assert.deepEqual(seen.headers, ['Content-Length', '0']);
    assert.equal(seen.ended, false);
  });

  it('tell an exception that nobody caught from a 500 that a Worker made', () => {
    const thrown =
      'HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 21\r\n\r\nInternal Server Error';
    assert.equal(parse(thrown).text, UNCAUGHT);
    const made = 'HTTP/1.1 500 Internal Server Error\r\nContent-Length: 21\r\n\r\nInternal Server Error';
    assert.notEqual(parse(made).text, UNCAUGHT);
    const bodyNotRead = 'HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n';
    assert.notEqual(parse(bodyNotRead).text, UNCAUGHT);
  });

  for (const [what, wire] of [
    ['no HTTP', 'SSH-2.0-x\r\n\r\n'],
    ['a status out of range', 'HTTP/1.1 999 X\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'],
    ['a length and chunks', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na'],
    ['a negative length', 'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n'],
    ['a coding that is not chunked', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n'],
    ['a header without a name', 'HTTP/1.1 200 OK\r\n: x\r\n\r\n'],
    ['a chunk size that is no number', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'],
    ['a chunk longer than its size', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n'],
    ['a bare LF in chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\nab'],
    ['bytes behind the end', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabHTTP/1.1 200 OK\r\n\r\n'],
    ['a head without end', `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(300_000)}`],
  ] as const) {
    it(`are refused with ${what}`, () => assert.throws(() => parse(wire), BadResponse));
  }
});
