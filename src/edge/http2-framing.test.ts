/** The corpus of malformed HTTP/2 requests, as raw frames, against the real listener before a real Worker that tells what reaches it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectHttp2, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2';
import { after, beforeEach, describe, it } from 'node:test';
import { connect } from 'node:tls';
import { HTTP2_CORPUS, type Http2Case } from './http2-corpus.ts';
import {
  answer,
  http2Frame as frame,
  HOST,
  HTTP2_PREFACE,
  http2Fields,
  open,
  openBench,
  versionId,
} from './testing.ts';

const WORKER = `const seen = [];
export default { async fetch(request) {
  const { pathname } = new URL(request.url);
  if (pathname === '/seen') return Response.json(seen.splice(0));
  if (pathname === '/odd') return new Response('odd', { headers: [
    ['Connection', 'x-a'], ['Keep-Alive', 'timeout=1'], ['TE', 'gzip'], ['HTTP2-Settings', 'AAMAAABk'], ['Upgrade', 'h2c'],
    ['Proxy-Connection', 'close'], ['set-cookie', 'a=1'], ['set-cookie', 'b=2'], ['x-twice', '1'], ['x-twice', '2'], ['x-content-type-options', 'nosniff'], ['x-content-type-options', 'nosniff'],
  ] });
  let body = null;
  try { body = await request.text(); } catch {}
  seen.push({ method: request.method, pathname, body, names: [...request.headers.keys()] });
  return new Response('taken');
} }`;

interface Seen {
  method: string;
  pathname: string;
  /** null if it broke off. */
  body: string | null;
  names: string[];
}

const bench = await openBench();
after(() => bench.close());
const id = await bench.start(WORKER);
bench.script('shop', { [versionId(1)]: 100 });
bench.isolates(versionId(1), [id]);

const seen = async () => JSON.parse((await answer(open(bench, '/seen'))).text) as Seen[];
beforeEach(seen);

const DATA = 0;
const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const GOAWAY = 7;
const CONTINUATION = 9;
const END_STREAM = 1;
const END_HEADERS = 4;
const MAX_FRAME_BYTES = 16_384;

/** A header section in as many frames as it takes. */
function headers(stream: number, fields: [string, string][], endStream: boolean): Buffer {
  const block = http2Fields(fields);
  const frames: Buffer[] = [];
  for (let at = 0; at === 0 || at < block.length; at += MAX_FRAME_BYTES) {
    const last = at + MAX_FRAME_BYTES >= block.length;
    const flags = (last ? END_HEADERS : 0) | (at === 0 && endStream ? END_STREAM : 0);
    frames.push(frame(at === 0 ? HEADERS : CONTINUATION, flags, stream, block.subarray(at, at + MAX_FRAME_BYTES)));
  }
  return Buffer.concat(frames);
}

function requestFrames(stream: number, { fields, body, trailers }: Pick<Http2Case, 'fields' | 'body' | 'trailers'>) {
  const frames = [headers(stream, fields, body === undefined)];
  body?.forEach((text, i) => {
    const last = i === body.length - 1 && !trailers;
    frames.push(frame(DATA, last ? END_STREAM : 0, stream, Buffer.from(text.replaceAll('HOST', HOST), 'latin1')));
  });
  if (trailers) frames.push(headers(stream, trailers, true));
  return Buffer.concat(frames);
}

const GOOD: [string, string][] = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', 'HOST'],
  [':path', '/good'],
];

interface Answer {
  /** What came on the stream of the case, and on that of the good request behind it. */
  text: string;
  next: string;
  /** Error code of RST_STREAM, null if there was none. */
  reset: number | null;
  goaway: boolean;
}

/** Sends the case on stream 1 and, when that is over, a good request on stream 3. Resolves when both are over. */
function send(each: Http2Case): Promise<Answer> {
  return new Promise((resolve) => {
    const answered: Answer = { text: '', next: '', reset: null, goaway: false };
    const socket = connect({
      port: bench.httpsPort,
      host: '127.0.0.1',
      ca: bench.certificates.caPem,
      servername: HOST,
      ALPNProtocols: ['h2'],
    });
    let pending = Buffer.alloc(0);
    const done = new Set<number>();
    const over = (stream: number) => {
      if (done.has(stream)) return;
      done.add(stream);
      if (stream === 1) socket.write(requestFrames(3, { fields: GOOD }));
      else socket.destroy();
    };
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(answered));
    socket.on('secureConnect', () => {
      socket.write(Buffer.concat([HTTP2_PREFACE, frame(SETTINGS, 0, 0, Buffer.alloc(0)), requestFrames(1, each)]));
    });
    socket.on('data', (bytes: Buffer) => {
      pending = Buffer.concat([pending, bytes]);
      while (pending.length >= 9 && pending.length >= 9 + pending.readUIntBE(0, 3)) {
        const end = 9 + pending.readUIntBE(0, 3);
        const [type, flags, stream] = [pending[3]!, pending[4]!, pending.readUInt32BE(5)];
        const payload = pending.subarray(9, end);
        pending = pending.subarray(end);
        if (type === DATA) answered[stream === 1 ? 'text' : 'next'] += payload.toString('latin1');
        if (type === RST_STREAM && stream === 1) answered.reset = payload.readUInt32BE();
        if (type === GOAWAY) answered.goaway = true;
        if (type === RST_STREAM || (type <= HEADERS && flags & END_STREAM)) over(stream);
      }
    });
  });
}

const corpus = (expected: Http2Case['expected']) => HTTP2_CORPUS.filter((each) => each.expected === expected);

describe('an HTTP/2 request that is refused: the Worker sees nothing of it, and the streams beside it go on:', () => {
  for (const each of corpus('refused')) {
    it(each.what, async () => {
      const { text, reset, goaway, next } = await send(each);
      const refusal = /<title>[45]\d\d /.test(text);
      assert.ok(refusal || reset || goaway, text || 'an answer without a body');
      if (!goaway) assert.equal(next, 'taken');
      const asked = (await seen()).filter(({ pathname }) => pathname !== '/good');
      // Of a body that does not keep its word the Worker may see the beginning.
      for (const { body } of asked) assert.ok(each.body && body === null, JSON.stringify(asked));
    });
  }
});

describe('an HTTP/2 request that is taken reaches the Worker once, without what HTTP/1.1 cannot say:', () => {
  for (const each of [...corpus('taken'), ...corpus('dropped')]) {
    it(each.what, async () => {
      const { text, reset, next } = await send(each);
      assert.deepEqual([text, reset || null, next], ['taken', null, 'taken']);
      const [asked, good, ...more] = await seen();
      assert.deepEqual([good?.pathname, more], ['/good', []]);
      assert.equal(asked!.body, each.body?.join('') ?? '');
      for (const name of [...(each.unseen ?? []), 'x-smuggled', 'bad', 'x-bad'])
        assert.ok(!asked!.names.includes(name));
    });
  }
});

describe('an HTTP/2 request with more body than it announced ends its connection; the Worker sees no more than was announced:', () => {
  for (const each of corpus('cut')) {
    it(each.what, async () => {
      const { goaway } = await send(each);
      assert.ok(goaway);
      const asked = await seen();
      assert.ok(asked.length <= 1, JSON.stringify(asked));
      for (const { pathname, body } of asked)
        assert.ok(pathname === '/' && (body === null || body === each.body![0]), JSON.stringify(asked));
    });
  }
});

describe('over HTTP/2, by a real client,', () => {
  const ask = async (fields: OutgoingHttpHeaders) => {
    const session = connectHttp2(`https://127.0.0.1:${bench.httpsPort}`, {
      ca: bench.certificates.caPem,
      servername: HOST,
    });
    const stream = session.request({ ':authority': HOST, ...fields });
    let continued = 0;
    stream.on('continue', () => continued++);
    const [head, , raw] = (await once(stream, 'response')) as [IncomingHttpHeaders, number, string[]];
    let text = '';
    for await (const chunk of stream.setEncoding('utf8')) text += chunk;
    session.close();
    return { status: head[':status'], head, raw, continued, text };
  };

  for (const method of ['CONNECT', 'TRACE']) {
    it(`${method} is refused with 405 and a page that says so`, async () => {
      const { status, head, text } = await ask({
        ':method': method,
        ...(method === 'CONNECT' ? {} : { ':path': '/' }),
      });
      assert.deepEqual([status, head['content-type']], [405, 'text/html; charset=utf-8']);
      assert.match(text, new RegExp(`${method} is not answered here`));
      assert.equal(bench.records.at(-1)!.outcome, 'methodNotAllowed');
      assert.deepEqual(await seen(), []);
    });
  }

  it('Expect: 100-continue is answered at once, and other expectations with 417', async () => {
    const { status, continued } = await ask({ ':path': '/', expect: '100-continue' });
    assert.deepEqual([status, continued], [200, 1]);
    assert.equal((await ask({ ':path': '/', expect: 'the unexpected' })).status, 417);
    assert.equal((await seen()).length, 1);
  });

  it('an answer has no fields of the connection, and all others as often as the Worker says', async () => {
    const { head, raw, text } = await ask({ ':path': '/odd' });
    assert.equal(text, 'odd');
    for (const name of ['connection', 'keep-alive', 'te', 'http2-settings', 'upgrade', 'proxy-connection'])
      assert.equal(head[name], undefined, name);
    const values = (name: string) => raw.filter((_, i) => i % 2 === 1 && raw[i - 1] === name);
    assert.deepEqual(values('set-cookie'), ['a=1', 'b=2']);
    assert.deepEqual(values('x-twice'), ['1', '2']);
    // As over HTTP/1.1, where Node does not mind either.
    assert.deepEqual(values('x-content-type-options'), ['nosniff', 'nosniff']);
    assert.equal(values('date').length, 1);
    assert.equal(head['content-length'], '3');
  });
});
