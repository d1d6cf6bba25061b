/** The corpus of malformed requests against the real listener before a real Worker that counts what reaches it. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, beforeEach, describe, it } from 'node:test';
import { BROKEN_CHUNKS, CORPUS } from './corpus.ts';
import { answer, HOST, open, openBench, versionId } from './testing.ts';

const WORKER = `const seen = [];
export default { async fetch(request) {
  const { pathname } = new URL(request.url);
  if (pathname === '/seen') return Response.json(seen.splice(0));
  let body = null;
  try { body = await request.text(); } catch {}
  seen.push({ method: request.method, pathname, body, smuggled: request.headers.has('x-smuggled') });
  return new Response('ok');
} }`;

const bench = await openBench();
after(() => bench.close());
const id = await bench.start(WORKER);
bench.script('shop', { [versionId(1)]: 100 });
bench.isolates(versionId(1), [id]);

const SMUGGLED = `GET /smuggled HTTP/1.1\r\nHost: ${HOST}\r\nX-Smuggled: 1\r\n\r\n`;
const seen = async () =>
  JSON.parse((await answer(open(bench, '/seen'))).text) as { pathname: string; body: string | null }[];

/** Sends bytes, and another request behind them; returns all that comes until the connection ends, or nothing more comes. */
function send(bytes: string): Promise<{ text: string; ended: boolean }> {
  return new Promise((resolve) => {
    const socket = connect(bench.httpPort, '127.0.0.1');
    let text = '';
    const finish = (ended: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ text, ended });
    };
    // A connection that is kept is in order for what was in order.
    let timer = setTimeout(() => finish(false), 1_000);
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      clearTimeout(timer);
      timer = setTimeout(() => finish(false), 200);
    });
    socket.on('close', () => finish(true));
    socket.on('error', () => undefined);
    socket.write(bytes.replaceAll('HOST', HOST), 'latin1');
  });
}

beforeEach(seen);

const statuses = (text: string) => [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status));

describe('a request that is refused ends its connection, and the Worker sees nothing of it or behind it:', () => {
  for (const { what, bytes } of CORPUS.filter(({ expected }) => expected === 'refused')) {
    it(what, async () => {
      const { text, ended } = await send(bytes + SMUGGLED);
      assert.ok(ended, `the connection is open: ${text}`);
      const [status = 400, ...more] = statuses(text);
      assert.ok(status >= 400 && status < 600, text);
      assert.deepEqual(more, []);
      assert.deepEqual(await seen(), []);
    });
  }
});

describe('a request that is taken reaches the Worker once, and what follows is a request of its own:', () => {
  for (const { what, bytes, expected } of CORPUS.filter(({ expected }) => expected !== 'refused')) {
    it(what, async () => {
      const { text } = await send(bytes + SMUGGLED);
      assert.deepEqual(statuses(text), [200, 200]);
      // Pipelined requests are asked at the same time.
      const asked = await seen();
      assert.equal(asked.length, (expected as number) + 1);
      assert.equal(asked.filter(({ pathname }) => pathname === '/smuggled').length, 1);
      for (const { pathname, body } of asked) assert.ok(body === '' || (body === 'hello' && pathname !== '/smuggled'));
    });
  }
});

describe('chunks that break the rules break off their request:', () => {
  for (const { what, bytes } of BROKEN_CHUNKS) {
    it(what, async () => {
      const { text, ended } = await send(bytes + SMUGGLED);
      assert.ok(ended, text);
      assert.ok(
        statuses(text).every((status) => status >= 400),
        text,
      );
      for (const { pathname, body } of await seen()) {
        assert.equal(pathname, '/echo');
        assert.equal(body, null, 'a body that was not complete');
      }
    });
  }
});
