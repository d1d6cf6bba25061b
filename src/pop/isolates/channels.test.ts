/** A Worker's ways in and out of its process, each a socket: the far ends are small servers of the test. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { connect, createServer as createRelay, type Server as NetServer } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import type { Binding, Version } from '../../model/documents.ts';
import type { Attach, IsolateRef } from '../../model/messages.ts';
import { ask, openBench } from './testing.ts';

/** What the far ends answer and heard, replaced by each test. */
const ends = {
  egress: (_request: IncomingMessage, response: ServerResponse) => void response.end(),
  cache: (_request: IncomingMessage, response: ServerResponse) => void response.end(),
  tail: (_items: unknown[]) => undefined as unknown,
  service: null as ((attach: Attach, index: number) => string) | null,
};
const attached: Attach[] = [];
const open = new Map<string, (Server | NetServer)[]>();

const bench = await openBench({
  async attach(attach) {
    attached.push(attach);
    const wanted: [string, Server | NetServer][] = [
      ['egress.sock', http((q, s) => ends.egress(q, s))],
      ['cache.sock', http((q, s) => ends.cache(q, s))],
      ['assets.sock', http((q, s) => void s.end(`asset ${q.url}`))],
      [
        'tail.sock',
        http((q, s) => {
          void text(q).then((body) => {
            ends.tail(JSON.parse(body));
            s.end();
          });
        }),
      ],
      ...attach.services.map(({ socket }, index): [string, NetServer] => [
        socket,
        createRelay((near) => {
          const far = connect(ends.service!(attach, index));
          near.pipe(far).pipe(near);
          for (const end of [near, far]) end.on('error', () => near.destroy(far.destroy().errored ?? undefined));
        }),
      ]),
    ];
    for (const [file, server] of wanted) {
      const path = join(attach.dir, file);
      await new Promise<void>((resolve) => server.listen(path, resolve));
      chmodSync(path, 0o666);
    }
    open.set(
      attach.isolate,
      wanted.map(([, server]) => server),
    );
  },
});
after(async () => {
  await bench.close();
  for (const server of [...open.values()].flat()) server.close();
});

function http(handler: (request: IncomingMessage, response: ServerResponse) => void): Server {
  return createServer({ requireHostHeader: false, keepAliveTimeout: 0 }, handler);
}

async function start(
  source: string,
  over: Partial<Version> = {},
  spec: { tailed?: boolean; entrypoints?: string[] } = {},
) {
  const version = await bench.version({ 'index.js': source }, over);
  return bench.host.start({ version, tailed: spec.tailed ?? false, entrypoints: spec.entrypoints ?? [] });
}

describe('out of a process', () => {
  it('fetch() goes to the egress with its whole URL and cf options', async () => {
    let seen: unknown;
    ends.egress = (q, s) => {
      seen = [q.method, q.url, q.headers['selvedge-cf']];
      s.end('from outside');
    };
    const isolate = await start(
      `export default { fetch() { return fetch('https://example.com/a?b', { cf: { cacheTtl: 5 }, headers: { 'selvedge-cf': '{"a":1}' } }) } }`,
    );
    assert.equal((await ask(isolate.ref.main)).body, 'from outside');
    const [method, url, cf] = seen as [string, string, string];
    assert.deepEqual(
      [method, url, JSON.parse(cf).cacheTtl, JSON.parse(cf).a],
      ['GET', 'https://example.com/a?b', 5, undefined],
    );
    await isolate.stop(1_000);
  });

  it('the Cache API and the assets binding have sockets of their own', async () => {
    let method: string | undefined;
    ends.cache = (q, s) => {
      method = q.method;
      q.resume();
      s.writeHead(204).end();
    };
    const isolate = await start(
      `export default { async fetch(r, env) {
        await caches.default.put('https://example.com/x', new Response('x', { headers: { 'cache-control': 'max-age=60' } }));
        return env.FILES.fetch('https://assets/logo.svg') } }`,
      {
        bindings: [{ name: 'FILES', type: 'assets' }],
        assets: {
          manifest: '',
          config: { html_handling: 'none', not_found_handling: 'none', run_worker_first: true },
        },
      },
    );
    assert.equal((await ask(isolate.ref.main)).body, 'asset /logo.svg');
    assert.equal(method, 'PUT');
    await isolate.stop(1_000);
  });

  it('service bindings reach other processes by fetch() and RPC, at the default and at named entrypoints', async () => {
    const callee = await start(
      `import { WorkerEntrypoint } from 'cloudflare:workers';
      export default class extends WorkerEntrypoint { fetch(r) { return new Response('default ' + r.url) } add(a, b) { return a + b } }
      export class Api extends WorkerEntrypoint { async each(list, f) { return Promise.all(list.map((x) => f(x))) } }`,
      {},
      { entrypoints: ['Api'] },
    );
    const rpc: IsolateRef['rpc'] = callee.ref.rpc;
    ends.service = (attach, index) => rpc[attach.services[index]!.entrypoint]!;
    const bindings: Binding[] = [
      { name: 'TEXT', type: 'plain_text', text: 'between' },
      { name: 'OTHER', type: 'service', service: 'callee' },
      { name: 'API', type: 'service', service: 'callee', entrypoint: 'Api' },
    ];
    const caller = await start(
      `export default { async fetch(r, env) { return Response.json([
        await (await env.OTHER.fetch('https://callee/x')).text(), await env.OTHER.add(1, 2), await env.API.each([1, 2], (x) => x * 10)]) } }`,
      { bindings },
    );
    assert.deepEqual(attached.at(-1)!.services, [
      { socket: 'svc-0.sock', script: 'callee', entrypoint: 'default' },
      { socket: 'svc-1.sock', script: 'callee', entrypoint: 'Api' },
    ]);
    assert.deepEqual(JSON.parse((await ask(caller.ref.main)).body), ['default https://callee/x', 3, [10, 20]]);
    await caller.stop(1_000);
    await callee.stop(1_000);
  });

  it('props of a service binding are refused by name', async () => {
    const bindings: Binding[] = [{ name: 'WITH_PROPS', type: 'service', service: 'x', props: { a: 1 } }];
    await assert.rejects(start('export default { fetch() {} }', { bindings }), {
      name: 'StartError',
      message: /WITH_PROPS/,
    });
  });

  it('a traced Worker sends what it logged, threw and answered', async () => {
    const heard = new Promise<unknown[]>((resolve) => {
      ends.tail = resolve;
    });
    const isolate = await start(
      `export default { fetch() { console.log('one', { two: 2 }); throw new RangeError('boom') } }`,
      {},
      { tailed: true },
    );
    await ask(isolate.ref.main, '/p');
    const [item] = (await heard) as Record<string, any>[];
    assert.equal(item!.outcome, 'exception');
    assert.deepEqual(item!.logs[0].message, ['one', { two: 2 }]);
    assert.equal(item!.exceptions[0].name, 'RangeError');
    assert.equal(item!.exceptions[0].message, 'boom');
    assert.equal(item!.event.request.url, 'http://test.example/p');
    await isolate.stop(1_000);
  });
});

describe('into a process', () => {
  it('WebSockets pass, also into a Worker that uses Node code', async () => {
    const isolate = await start(
      `import { Buffer } from 'node:buffer';
      export default { fetch() { const [client, server] = Object.values(new WebSocketPair()); server.accept();
        server.addEventListener('message', ({ data }) => server.send(Buffer.from(data).toString('hex')));
        return new Response(null, { status: 101, webSocket: client }) } }`,
      { compatibilityFlags: ['nodejs_compat'], compatibilityDate: '2026-01-01' },
    );
    const socket = new WebSocket(`ws+unix:${isolate.ref.main}:/`);
    await once(socket, 'open');
    socket.send('hi');
    const [message] = await once(socket, 'message');
    assert.equal(String(message), '6869');
    socket.terminate();
    isolate.kill('drained');
  });

  it('an end in order lets an open response finish', async () => {
    const isolate = await start(
      `export default { fetch() { const { readable, writable } = new TransformStream(); const w = writable.getWriter();
        const send = async () => { await w.write(new TextEncoder().encode('begin ')); await scheduler.wait(300); await w.write(new TextEncoder().encode('end')); await w.close() };
        send(); return new Response(readable) } }`,
    );
    const asked = request({ socketPath: isolate.ref.main, headers: { host: 'x' }, agent: false }).end();
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    const [body] = await Promise.all([text(response), isolate.stop(10_000)]);
    assert.equal(body, 'begin end');
    assert.equal(await isolate.verdict(), 'drained');
  });

  it('an exception that nobody caught looks like no answer of a Worker', async () => {
    const isolate = await start(
      `export default { fetch(r) { const { pathname } = new URL(r.url);
        if (pathname === '/throw') throw new Error('boom');
        const body = new TextEncoder().encode('Internal Server Error');
        return new Response(pathname === '/null' ? null : body, { status: 500, headers: { connection: 'close' } }) } }`,
    );
    const head = async (start: string, more = '') =>
      (await raw(isolate.ref.main, `${start} HTTP/1.1\r\nHost: x\r\n${more}\r\n`))
        .split('\r\n\r\n')[0]!
        .split('\r\n')
        .slice(1);
    assert.deepEqual(await head('GET /throw'), ['Connection: close', 'Content-Length: 21']);
    assert.deepEqual(await head('GET /null'), ['Content-Length: 0']);
    assert.deepEqual(await head('GET /body'), ['Content-Length: 21']);
    // A body that nobody read: the connection cannot be used again, and only the order tells the two apart.
    assert.deepEqual(await head('POST /body', 'Content-Length: 100000\r\n'), [
      'Content-Length: 21',
      'Connection: close',
    ]);
    await isolate.stop(1_000);
  });
});

/** The first bytes of the answer to `head`, as they came. */
function raw(socketPath: string, head: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(socketPath, () => socket.write(head));
    socket.on('error', reject).on('data', (bytes) => {
      answer += bytes.toString('latin1');
      if (answer.includes('\r\n\r\n')) socket.destroy();
    });
    socket.on('close', () => resolve(answer));
  });
}
