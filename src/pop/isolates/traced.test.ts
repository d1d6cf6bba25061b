/** A traced Worker carries the trace of each request on to what it fetches, and is otherwise what it was: before real workerd. */
import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { connect, createServer as createRelay, type Server } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, describe, it } from 'node:test';
import type { Version } from '../../model/documents.ts';
import type { IsolateRef } from '../../model/messages.ts';
import { ask, openBench } from './testing.ts';

const traceparent = (n: number) => `00-${String(n).padStart(32, 'a')}-${String(n).padStart(16, 'b')}-01`;

let callee: IsolateRef | null = null;
const servers: Server[] = [];
const bench = await openBench({
  traced: true,
  async attach({ dir, services }) {
    // Answers with what it was asked.
    const egress = createServer({ requireHostHeader: false, keepAliveTimeout: 0 }, (q: IncomingMessage, s) => {
      void text(q).then((body) => s.end(JSON.stringify({ url: q.url, method: q.method, body, ...q.headers })));
    });
    const relays = services.map(({ entrypoint }) =>
      createRelay((near) => {
        const far = connect(callee!.rpc[entrypoint]!);
        near.pipe(far).pipe(near);
        for (const end of [near, far]) end.on('error', () => near.destroy(far.destroy().errored ?? undefined));
      }),
    );
    for (const [file, server] of [
      ['egress.sock', egress],
      ...services.map(({ socket }, index) => [socket, relays[index]!] as const),
    ] as [string, Server][]) {
      await new Promise<void>((resolve) => server.listen(join(dir, file), resolve));
      chmodSync(join(dir, file), 0o666);
      servers.push(server);
    }
  },
});
after(async () => {
  await bench.close();
  for (const server of servers) server.close();
});

async function start(source: string, over: Partial<Version> = {}, entrypoints: string[] = []) {
  const version = await bench.version({ 'index.js': source }, over);
  const named = entrypoints.map((name) => ({ name, kind: 'worker' as const, handlers: ['fetch'] }));
  return bench.host.start({ version: { ...version, entrypoints: named }, tailed: false, entrypoints });
}

const asked = async (isolate: { ref: IsolateRef }, n: number, socket = isolate.ref.main) =>
  JSON.parse((await ask(socket, '/', { traceparent: traceparent(n) })).body);

describe('a traced Worker carries a request’s trace on', () => {
  it('to fetch() of a URL and of a Request, with body, method and headers as they were', async () => {
    const isolate = await start(`export default { async fetch(r) {
      const one = await (await fetch('https://example.com/a?b', { method: 'POST', body: 'x', headers: { 'x-mine': '1' } })).json();
      const two = await (await fetch(new Request('https://example.com/c', { method: 'PUT', body: new Blob(['yz']).stream() }))).json();
      return Response.json([one, two]);
    } }`);
    const [one, two] = await asked(isolate, 1);
    assert.deepEqual(
      [one.url, one.method, one.body, one['x-mine'], one.traceparent],
      ['https://example.com/a?b', 'POST', 'x', '1', traceparent(1)],
    );
    assert.deepEqual(
      [two.url, two.method, two.body, two.traceparent],
      ['https://example.com/c', 'PUT', 'yz', traceparent(1)],
    );
  });

  it('each its own, across awaits, timers and what it kept of fetch', async () => {
    const isolate = await start(`const kept = fetch;
      export default { async fetch(r) {
        await scheduler.wait(20); await null;
        return new Promise((resolve) => setTimeout(() => resolve(kept('https://example.com/')), 5));
      } }`);
    const heard = await Promise.all([1, 2, 3, 4, 5].map((n) => asked(isolate, n)));
    assert.deepEqual(
      heard.map((headers) => headers.traceparent),
      [1, 2, 3, 4, 5].map(traceparent),
    );
  });

  it('but not over one that the Worker names itself', async () => {
    const isolate = await start(
      `export default { fetch: () => fetch('https://example.com/', { headers: { traceparent: 'mine' } }) }`,
    );
    assert.equal((await asked(isolate, 1)).traceparent, 'mine');
  });

  it('and none where there is none', async () => {
    const isolate = await start(`export default { fetch: () => fetch('https://example.com/') }`);
    assert.equal(JSON.parse((await ask(isolate.ref.main)).body).traceparent, undefined);
  });

  it('through a service binding', async () => {
    callee = (await start(`export default { fetch: () => fetch('https://example.com/') }`)).ref;
    const caller = await start(`export default { fetch: (r, env) => env.OTHER.fetch('https://other/') }`, {
      bindings: [{ name: 'OTHER', type: 'service', service: 'other' }],
    });
    assert.equal((await asked(caller, 7)).traceparent, traceparent(7));
  });
});

describe('a traced Worker is what it was', () => {
  for (const [what, source] of [
    [
      'an object',
      `const app = { fetch() { return fetch('https://example.com/' + this.name) }, name: 'x' }; export default app;`,
    ],
    [
      'an instance of a class',
      `class App { name = 'x'; fetch() { return fetch('https://example.com/' + this.name) } } export default new App();`,
    ],
    [
      'an entrypoint class',
      `import { WorkerEntrypoint } from 'cloudflare:workers'; export default class extends WorkerEntrypoint { name = 'x'; fetch(r) { return fetch('https://example.com/' + this.name) } }`,
    ],
    [
      'an entrypoint class that inherits its fetch',
      `import { WorkerEntrypoint } from 'cloudflare:workers'; class Base extends WorkerEntrypoint { name = 'x'; fetch(r) { return fetch('https://example.com/' + this.name) } } export default class extends Base {}`,
    ],
  ] as const) {
    it(`as ${what}`, async () => {
      const heard = await asked(await start(source), 1);
      assert.deepEqual([heard.url, heard.traceparent], ['https://example.com/x', traceparent(1)]);
    });
  }

  it('as a frozen object: it answers, its trace ends', async () => {
    const isolate = await start(`export default Object.freeze({ fetch: () => fetch('https://example.com/') })`);
    assert.equal((await asked(isolate, 1)).url, 'https://example.com/');
  });

  it('with named entrypoints and its own exports, and without a default one', async () => {
    const isolate = await start(
      `import { WorkerEntrypoint } from 'cloudflare:workers';
      export class Other extends WorkerEntrypoint { fetch() { return fetch('https://example.com/other') } }`,
      {},
      ['Other'],
    );
    const heard = await asked(isolate, 3, isolate.ref.rpc.Other);
    assert.deepEqual([heard.url, heard.traceparent], ['https://example.com/other', traceparent(3)]);
  });

  it('with a main module in a folder, Node’s modules, and errors of fetch()', async () => {
    const version = await bench.version(
      {
        'src/deep/index.js': `import { AsyncLocalStorage } from 'node:async_hooks'; import { name } from '../name.js';
          export default { async fetch() {
            const errors = [];
            for (const wrong of [() => fetch('no url'), () => fetch(), () => fetch('https://example.com/', { method: 'GET', body: 'x' })])
              await wrong().catch((error) => errors.push(error.constructor.name));
            return Response.json({ name, errors, als: typeof AsyncLocalStorage }) } }`,
        'src/name.js': `export const name = 'deep';`,
      },
      { compatibilityFlags: ['nodejs_compat'] },
    );
    const isolate = await bench.host.start({ version, tailed: false, entrypoints: [] });
    assert.deepEqual(await asked(isolate, 1), {
      name: 'deep',
      errors: ['TypeError', 'TypeError', 'TypeError'],
      als: 'function',
    });
  });

  it('in the service-worker format, untraced', async () => {
    const isolate = await start(
      `addEventListener('fetch', (event) => event.respondWith(fetch('https://example.com/')))`,
      {
        format: 'service-worker',
      },
    );
    assert.equal((await asked(isolate, 1)).traceparent, undefined);
  });
});
