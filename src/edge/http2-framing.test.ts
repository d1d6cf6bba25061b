/**
 * Malformed requests over HTTP/2 (RFC 9113, 8.1 to 8.3), frame by frame, against the real listener before a real Worker that counts what
 * reaches it. What is read differently by different servers must not reach it at all, or only as what it is here.
 */
import assert from 'node:assert/strict';
import { after, beforeEach, describe, it } from 'node:test';
import { connect } from 'node:tls';
import { answer, HOST, open, openBench, versionId } from './testing.ts';

const WORKER = `const seen = [];
export default { async fetch(request) {
  const { pathname } = new URL(request.url);
  if (pathname === '/seen') return Response.json(seen.splice(0));
  let body = null;
  try { body = await request.text(); } catch {}
  seen.push({ method: request.method, url: request.url, body, headers: [...request.headers].filter(([name]) => name.startsWith('x-') && !name.startsWith('x-f')) });
  return new Response('ok');
} }`;

const bench = await openBench();
after(() => bench.close());
bench.script('shop', { [versionId(1)]: 100 });
bench.isolates(versionId(1), [await bench.start(WORKER)]);

interface Seen {
  method: string;
  url: string;
  body: string | null;
  headers: [string, string][];
}
const seen = async () => JSON.parse((await answer(open(bench, '/seen'))).text) as Seen[];
beforeEach(seen);

const DATA = 0;
const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const GOAWAY = 7;
const END_STREAM = 1;
const END_HEADERS = 4;

function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** Header fields as literals without indexing (RFC 7541, 6.2.2). */
function block(fields: [string, string][]): Buffer {
  const text = (value: string) => {
    const bytes = Buffer.from(value, 'latin1');
    assert.ok(bytes.length < 127);
    return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  };
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
}

/** What the listener makes of one stream: `200` and the like, `reset` or `goaway`. */
function send(fields: [string, string][], body?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      port: bench.httpsPort,
      ALPNProtocols: ['h2'],
      servername: HOST,
      rejectUnauthorized: false,
    });
    const finish = (what: string) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(what);
    };
    const timer = setTimeout(() => reject(new Error('no answer')), 10_000);
    socket.on('secureConnect', () => {
      socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
      socket.write(frame(SETTINGS, 0, 0));
      socket.write(frame(HEADERS, END_HEADERS | (body === undefined ? END_STREAM : 0), 1, block(fields)));
      if (body !== undefined) socket.write(frame(DATA, END_STREAM, 1, Buffer.from(body)));
    });
    let bytes = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      while (bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
        const [size, type] = [bytes.readUIntBE(0, 3), bytes[3]];
        const payload = bytes.subarray(9, 9 + size);
        bytes = bytes.subarray(9 + size);
        if (type === RST_STREAM) return finish('reset');
        if (type === GOAWAY) return finish('goaway');
        // The status stands first: indexed (RFC 7541, appendix A), or a literal of which only the refusal matters here.
        if (type === HEADERS) return finish({ 136: '200', 140: '400', 141: '404' }[payload[0]!] ?? 'refused');
      }
    });
    socket.on('close', () => finish('closed'));
    socket.on('error', () => undefined);
  });
}

type Fields = [string, string][];
const request = (over: Record<string, string | null> = {}, more: Fields = []): Fields => {
  const pseudo = { ':method': 'GET', ':scheme': 'https', ':authority': HOST, ':path': '/', ...over };
  return [...(Object.entries(pseudo).filter(([, value]) => value !== null) as Fields), ...more];
};

const REFUSED: [what: string, fields: Fields, body?: string][] = [
  ['no :method', request({ ':method': null })],
  ['no :path', request({ ':path': null })],
  ['no :scheme', request({ ':scheme': null })],
  ['no :authority and no host', request({ ':authority': null })],
  ['an empty :path', request({ ':path': '' })],
  ['a :path without its slash', request({ ':path': 'x' })],
  ['a :path with a fragment', request({ ':path': '/#x' })],
  ['an absolute :path of another host', request({ ':path': 'https://other.example/' })],
  ['a space in :path', request({ ':path': '/a b' })],
  ['a line end in :path', request({ ':path': '/a\r\nx-a: 1' })],
  ['a second :path', request({}, [[':path', '/other']])],
  ['a second :method', request({}, [[':method', 'POST']])],
  ['an unknown pseudo-header', request({ ':other': 'x' })],
  ['a pseudo-header of answers', request({ ':status': '200' })],
  ['a pseudo-header behind a field', [...request({ ':path': null }), ['x-a', '1'], [':path', '/']]],
  ['connection', request({}, [['connection', 'x-a']])],
  ['keep-alive', request({}, [['keep-alive', 'timeout=5']])],
  ['proxy-connection', request({}, [['proxy-connection', 'keep-alive']])],
  ['transfer-encoding', request({ ':method': 'POST' }, [['transfer-encoding', 'chunked']]), '0\r\n\r\n'],
  ['upgrade', request({}, [['upgrade', 'websocket']])],
  ['te: gzip', request({}, [['te', 'gzip']])],
  ['a host that is not :authority', request({}, [['host', 'other.example']])],
  [
    'two hosts',
    request({ ':authority': null }, [
      ['host', HOST],
      ['host', 'other.example'],
    ]),
  ],
  ['a content-length above the body', request({ ':method': 'POST' }, [['content-length', '5']]), 'abc'],
  ['a content-length below the body', request({ ':method': 'POST' }, [['content-length', '2']]), 'abc'],
  ['a content-length without a body', request({ ':method': 'POST' }, [['content-length', '3']])],
  [
    'two content-lengths',
    request({ ':method': 'POST' }, [
      ['content-length', '3'],
      ['content-length', '4'],
    ]),
    'abc',
  ],
  ['a content-length that is no number', request({ ':method': 'POST' }, [['content-length', '+3']]), 'abc'],
  ['TRACE', request({ ':method': 'TRACE' })],
  [
    'CONNECT',
    [
      [':method', 'CONNECT'],
      [':authority', `${HOST}:443`],
    ],
  ],
  ['extended CONNECT (RFC 8441), which was not offered', request({ ':method': 'CONNECT', ':protocol': 'websocket' })],
];

/** nghttp2 drops these fields alone. */
const DROPPED: [what: string, field: [string, string]][] = [
  ['an upper-case name', ['X-Upper', '1']],
  ['NUL in a value', ['x-nul', 'a\0b']],
  ['a line end in a value', ['x-line', 'a\r\nx-smuggled: 1']],
  ['a bare LF in a value', ['x-lf', 'a\nx-smuggled: 1']],
  ['a space in a name', ['x a', '1']],
  ['a colon in a name', ['x:a', '1']],
  ['an empty name', ['', '1']],
];

describe('a malformed request over HTTP/2 is refused, and no Worker sees it:', () => {
  for (const [what, fields, body] of REFUSED) {
    it(what, async () => {
      const outcome = await send(fields, body);
      assert.notEqual(outcome, '200');
      assert.deepEqual(await seen(), []);
    });
  }
});

describe('a malformed field never reaches a Worker, whatever becomes of its request:', () => {
  for (const [what, field] of DROPPED) {
    it(what, async () => {
      await send(request({}, [field]));
      for (const { headers } of await seen()) assert.deepEqual(headers, []);
    });
  }
});

describe('in order over HTTP/2:', () => {
  it('a request, te: trailers, a body with its length and one without', async () => {
    assert.equal(
      await send(
        request({}, [
          ['te', 'trailers'],
          ['x-a', '1'],
        ]),
      ),
      '200',
    );
    assert.equal(await send(request({ ':method': 'POST' }, [['content-length', '3']]), 'abc'), '200');
    assert.equal(await send(request({ ':method': 'POST' }), 'abc'), '200');
    const [one, two, three] = await seen();
    assert.deepEqual(one!.headers, [['x-a', '1']]);
    assert.deepEqual([two!.body, three!.body], ['abc', 'abc']);
  });

  it('a content-length of 0, whose body is dropped (an empty DATA frame behind it is legal)', async () => {
    await send(request({ ':method': 'POST' }, [['content-length', '0']]), 'abc');
    await send(request({ ':method': 'POST' }, [['content-length', '0']]), '');
    for (const { body } of await seen()) assert.equal(body, '');
  });
});
