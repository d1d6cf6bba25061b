/** Service bindings between Workers: fetch and RPC, default and named entrypoints, and what happens when the called one is deployed again. */
import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from './harness.ts';

const edge = await startEdge();
after(() => edge.close());
const DATE = '2026-11-01';

const callee = (generation: number) => ({
  'index.js': `
    import { WorkerEntrypoint, RpcTarget } from 'cloudflare:workers';
    class Counter extends RpcTarget { #n = 0; add(x) { return this.#n += x } }
    export class Math extends WorkerEntrypoint {
      add(a, b) { return a + b }
      async each(values, call) { for (const value of values) await call(value); return values.length }
      counter() { return new Counter() }
      fail() { throw new RangeError('out of range') }
      secret() { return this.env.SECRET_LEVEL }
    }
    export const plain = { fetch() { return new Response('plain entrypoint') } };
    export default class extends WorkerEntrypoint {
      async fetch(request) { return Response.json({ generation: ${generation}, method: request.method, url: request.url, body: await request.text(), cf: request.cf?.colo }) }
      generation() { return ${generation} }
    }`,
});
const calleeConfig = {
  name: 'callee',
  main: 'index.js',
  compatibility_date: DATE,
  vars: { SECRET_LEVEL: 'of the callee' },
};

await edge.deployed(['deploy'], { cwd: await edge.project(calleeConfig, callee(1)) });
const callerConfig = {
  name: 'caller',
  main: 'index.js',
  compatibility_date: DATE,
  services: [
    { binding: 'API', service: 'callee' },
    { binding: 'MATH', service: 'callee', entrypoint: 'Math' },
    { binding: 'PLAIN', service: 'callee', entrypoint: 'plain' },
    { binding: 'SELF', service: 'caller', entrypoint: 'Inner' },
  ],
};
const caller = `
  import { WorkerEntrypoint } from 'cloudflare:workers';
  export class Inner extends WorkerEntrypoint { hello() { return 'inner' } }
  export default { async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === '/fetch') return env.API.fetch('https://callee.internal/x?y=1', { method: 'POST', body: 'body' });
    if (pathname === '/pass') return env.API.fetch(request);
    if (pathname === '/plain') return env.PLAIN.fetch(request);
    if (pathname === '/generation') return Response.json(await env.API.generation());
    if (pathname === '/self') return new Response(await env.SELF.hello());
    const seen = [];
    const counter = await env.MATH.counter();
    await counter.add(2);
    const error = await env.MATH.fail().catch((e) => e.name + ': ' + e.message);
    return Response.json({
      sum: await env.MATH.add(1, 2),
      count: await env.MATH.each(['a', 'b'], (x) => { seen.push(x) }), seen,
      counter: await counter.add(3), error, secret: await env.MATH.secret(),
    });
  } }`;
await edge.deployed(['deploy'], { cwd: await edge.project(callerConfig, { 'index.js': caller }) });
const host = edge.host('caller');

it('fetch() reaches the other Worker with method, URL and body', async () => {
  const seen = (await edge.request(host, '/fetch')).json();
  assert.deepEqual(seen, { generation: 1, method: 'POST', url: 'https://callee.internal/x?y=1', body: 'body' });
});

it('a request can be passed on with its cf', async () => {
  assert.equal((await edge.request(host, '/pass')).json().cf, 'DEV');
});

it('RPC carries values, callbacks, objects, errors, and the callee has its own env', async () => {
  assert.deepEqual((await edge.request(host, '/rpc')).json(), {
    sum: 3,
    count: 2,
    seen: ['a', 'b'],
    counter: 5,
    error: 'RangeError: out of range',
    secret: 'of the callee',
  });
});

it('an object can be an entrypoint, and a Worker can call its own', async () => {
  assert.equal((await edge.request(host, '/plain')).text, 'plain entrypoint');
  assert.equal((await edge.request(host, '/self')).text, 'inner');
});

it('an entrypoint that is not exported is refused by name', async () => {
  const config = {
    ...callerConfig,
    name: 'wrong',
    services: [{ binding: 'X', service: 'callee', entrypoint: 'Missing' }],
  };
  const { code, stdout, stderr } = await edge.wrangler(['deploy'], {
    cwd: await edge.project(config, { 'index.js': 'export default { fetch() {} }' }),
  });
  assert.notEqual(code, 0);
  assert.match(stdout + stderr, /Missing/);
});

it('callers reach the new version after the callee is deployed again, without a failed call', async () => {
  let stop = false;
  const failures: string[] = [];
  const calls = (async () => {
    while (!stop) {
      const answer = await edge.request(host, '/fetch');
      if (answer.status !== 200) failures.push(`${answer.status} ${answer.text.slice(0, 200)}`);
    }
  })();
  await edge.deployed(['deploy'], { cwd: await edge.project(calleeConfig, callee(2)) });
  assert.equal((await edge.request(host, '/fetch')).json().generation, 2);
  stop = true;
  await calls;
  assert.deepEqual(failures, []);
});
