/** Bodies of any size in constant memory, and what either side hears when the other breaks off. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect as connectHttp2, constants } from 'node:http2';
import { connect } from 'node:net';
import { after, describe, it } from 'node:test';
import { eventually, startEdge } from './harness.ts';

const GiB = 1024 ** 3;
const MiB = 1024 ** 2;
/** Beyond what 32 bits count. */
const SIZE = 4 * GiB + 5 * MiB;
/** Whatever the size of a body, a process may grow by no more than this. */
const GROWTH = 160 * MiB;

const edge = await startEdge({ config: { plan: { body_bytes: 8 * GiB } } });
after(() => edge.close());

const cwd = await edge.project(
  {
    name: 'bodies',
    main: 'index.js',
    compatibility_date: '2026-11-01',
    compatibility_flags: ['enable_request_signal'],
  },
  {
    'index.js': `
let aborted = 0;
export default { async fetch(request, env, ctx) {
  const { pathname } = new URL(request.url);
  switch (pathname) {
    case '/echo': return new Response(request.body);
    case '/held': {
      request.signal.addEventListener('abort', () => aborted++);
      await scheduler.wait(60_000);
      return new Response('never');
    }
    case '/aborted': return new Response(String(aborted));
    case '/breaks': {
      let sent = 0;
      return new Response(new ReadableStream({
        pull(controller) { if (sent++ < 3) controller.enqueue(new Uint8Array(1000)); else controller.error(new Error('broken')); },
      }));
    }
    default: return new Response('empty: ' + (request.body === null));
  }
} }`,
  },
);
await edge.deployed(['deploy'], { cwd });
const host = edge.host('bodies');

/** Memory of each process below the one of `selvedge up`, bytes by pid. */
function memory(): Map<number, number> {
  const parents = new Map<number, { parent: number; bytes: number }>();
  for (const name of readdirSync('/proc').filter((each) => /^\d+$/.test(each))) {
    try {
      const status = readFileSync(`/proc/${name}/status`, 'utf8');
      const bytes = Number(/^RssAnon:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024;
      parents.set(Number(name), { parent: Number(/^PPid:\s+(\d+)/m.exec(status)?.[1]), bytes });
    } catch {
      // It ended meanwhile.
    }
  }
  const isOurs = (pid: number): boolean => pid === edge.pid || (pid > 1 && isOurs(parents.get(pid)?.parent ?? 0));
  return new Map([...parents].filter(([pid]) => isOurs(pid)).map(([pid, { bytes }]) => [pid, bytes]));
}

describe('a body', () => {
  it(`of more than four gigabytes goes up and comes back in constant memory`, async () => {
    const before = memory();
    let grown = 0;
    const timer = setInterval(() => {
      for (const [pid, bytes] of memory()) grown = Math.max(grown, bytes - (before.get(pid) ?? 0));
    }, 200);
    const piece = Buffer.alloc(MiB);
    for (let i = 0; i < piece.length; i++) piece[i] = i % 251;
    const asked = request({
      host: '127.0.0.1',
      port: edge.http,
      path: '/echo',
      method: 'POST',
      headers: { host, 'content-length': SIZE },
    });
    let sent = 0;
    const push = () => {
      while (sent < SIZE) {
        sent += piece.length;
        if (!asked.write(piece)) return;
      }
      asked.end();
    };
    asked.on('drain', push);
    push();
    const [response] = await once(asked, 'response');
    let received = 0;
    let differing = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) {
      if (chunk[0] !== piece[received % MiB] || chunk.at(-1) !== piece[(received + chunk.length - 1) % MiB])
        differing++;
      received += chunk.length;
    }
    clearInterval(timer);
    assert.deepEqual([response.statusCode, received, differing], [200, SIZE, 0]);
    assert.ok(grown < GROWTH, `a process grew by ${Math.round(grown / MiB)} MiB`);
  });

  it('that is empty is none, with a length of 0 and in chunks', async () => {
    assert.equal((await edge.request(host, '/')).text, 'empty: true');
    assert.equal((await edge.request(host, '/', { method: 'POST' })).status, 200);
    const socket = connect(edge.http, '127.0.0.1');
    socket.write(
      `POST /echo HTTP/1.1\r\nHost: ${host}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n`,
    );
    let text = '';
    for await (const chunk of socket) text += chunk;
    assert.match(text, /^HTTP\/1.1 200 /);
  });
});

describe('a client that leaves', () => {
  const count = async () => Number((await edge.request(host, '/aborted')).text);

  it('aborts request.signal over HTTP/1.1', async () => {
    const before = await count();
    const asked = request({ host: '127.0.0.1', port: edge.http, path: '/held', headers: { host } }).end();
    asked.on('error', () => undefined);
    await new Promise((resolve) => setTimeout(resolve, 200));
    asked.destroy();
    await eventually(async () => (await count()) === before + 1);
  });

  it('aborts request.signal over HTTP/2, its stream alone', async () => {
    const before = await count();
    const session = connectHttp2(`https://127.0.0.1:${edge.https}`, { rejectUnauthorized: false, servername: host });
    const held = session.request({ ':authority': host, ':path': '/held' });
    held.on('error', () => undefined);
    await new Promise((resolve) => setTimeout(resolve, 200));
    held.close(constants.NGHTTP2_CANCEL);
    await eventually(async () => (await count()) === before + 1);
    const other = session.request({ ':authority': host, ':path': '/' });
    const [headers] = await once(other, 'response');
    assert.equal(headers[':status'], 200);
    session.destroy();
  });
});

describe('a Worker whose body breaks off', () => {
  it('cuts the connection over HTTP/1.1', async () => {
    const asked = request({ host: '127.0.0.1', port: edge.http, path: '/breaks', headers: { host } }).end();
    const [response] = await once(asked, 'response');
    assert.equal(response.statusCode, 200);
    await assert.rejects(once(response.resume(), 'end'), { code: 'ECONNRESET' });
  });

  it('resets the stream over HTTP/2', async () => {
    const session = connectHttp2(`https://127.0.0.1:${edge.https}`, { rejectUnauthorized: false, servername: host });
    const stream = session.request({ ':authority': host, ':path': '/breaks' });
    stream.resume();
    await assert.rejects(once(stream, 'end'), { code: 'ERR_HTTP2_STREAM_ERROR' });
    assert.equal(stream.rstCode, constants.NGHTTP2_INTERNAL_ERROR);
    session.destroy();
  });
});
