/** Bindings to Durable Objects of another Worker, whose process is another one: real wrangler, real Workers. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, describe, it } from 'node:test';
import { eventually, startEdge } from './harness.ts';

const edge = await startEdge();
after(() => edge.close());
const DATE = '2026-11-01';

const OWNER = (generation: number) => `
import { DurableObject, RpcTarget } from 'cloudflare:workers';
class Tally extends RpcTarget { #n = 0; add(x) { return this.#n += x } get total() { return this.#n } }
export class Counter extends DurableObject {
  label = 'own property';
  get level() { return 'from a getter' }
  async add(n = 1) {
    const value = ((await this.ctx.storage.get('n')) ?? 0) + n;
    await this.ctx.storage.put('n', value);
    return value;
  }
  who() { return { id: this.ctx.id.toString(), name: this.ctx.id.name ?? null, generation: ${generation} } }
  echo(...values) { return values }
  fail() { throw new RangeError('out of range') }
  async each(values, call) { const got = []; for (const value of values) got.push(await call(value)); return got }
  tally() { return new Tally() }
  counted() { return { tally: new Tally(), at: new Date(0) } }
  stream() { return new Blob(['a stream']).stream() }
  async read(stream) { return new Response(stream).text() }
  async slow(ms) { await scheduler.wait(ms); return 'slow' }
  async fetch(request) {
    const url = new URL(request.url);
    if (url.pathname === '/ws') {
      const [client, server] = Object.values(new WebSocketPair());
      this.ctx.acceptWebSocket(server, [url.searchParams.get('name')]);
      return new Response(null, { status: 101, webSocket: client });
    }
    return Response.json({
      method: request.method, url: request.url, body: await request.text(), headers: [...request.headers.keys()],
      x: request.headers.get('x-mine'), colo: request.cf?.colo, name: this.ctx.id.name,
    }, { status: 201, headers: { 'x-answer': 'yes' } });
  }
  webSocketClose(socket, code) { socket.close(code) }
  webSocketMessage(from, text) { for (const socket of this.ctx.getWebSockets()) socket.send(this.ctx.getTags(from)[0] + ': ' + text) }
}
export class Unbound extends DurableObject { who() { return 'unbound' } }
export default { async fetch(request, env) {
  const { name, method, args = [] } = await request.json();
  const id = env.COUNTER.idFromName(name);
  return Response.json({ ok: await env.COUNTER.get(id)[method](...args), id: id.toString() });
} }`;

const CALLER = `
export default { async fetch(request, env) {
  const { pathname, searchParams } = new URL(request.url);
  if (pathname === '/ws') return env.THEIRS.getByName('room').fetch(request);
  const stub = env.THEIRS.getByName('rpc');
  const seen = [];
  try {
    switch (pathname) {
      case '/call': {
        const { name, id, method, args = [] } = await request.json();
        const objectId = id === 'new' ? env.THEIRS.newUniqueId() : id ? env.THEIRS.idFromString(id) : env.THEIRS.idFromName(name);
        const theirs = env.THEIRS.get(objectId, { locationHint: 'weur' });
        return Response.json({ ok: await theirs[method](...args), id: objectId.toString(), stub: [String(theirs.id), theirs.name ?? null] });
      }
      case '/fetch': return stub.fetch('https://object/path?q=1', { method: 'POST', body: 'body', headers: { 'x-mine': 'ü%', 'selvedge-object': 'spoofed' } });
      case '/pass': return stub.fetch(request);
      case '/values': return Response.json(await stub.echo(1, 'grüße', null, [true, { a: 1 }], new Date(5)).then((v) => [...v.slice(0, 4), v[4] instanceof Date]));
      case '/property': return Response.json(await stub.level);
      case '/callback': return Response.json([await stub.each([1, 2], (x) => { seen.push(x); return x * 10 }), seen]);
      case '/target': {
        using tally = await stub.tally();
        await tally.add(2);
        return Response.json([await tally.add(3), await tally.total, await stub.tally().add(7)]);
      }
      case '/nested': { using result = await stub.counted(); return Response.json([await result.tally.add(4), result.at.getTime()]); }
      case '/stream': return Response.json([await new Response(await stub.stream()).text(), await stub.read(new Blob(['mine']).stream())]);
      case '/missing': return Response.json(await stub.nothing());
      case '/own': return Response.json(await stub.label);
      case '/fail': return Response.json(await stub.fail());
      case '/many': return Response.json(await Promise.all(Array.from({ length: 100 }, () => env.THEIRS.getByName('many').add())));
    }
  } catch (error) { return Response.json({ error: error.name + ': ' + error.message }); }
} }`;

async function deploy(name: string, source: string, config: object, env = {}) {
  const cwd = await edge.project(
    { name, main: 'index.js', compatibility_date: DATE, ...config },
    { 'index.js': source },
  );
  return edge.wrangler(['deploy'], { cwd, env });
}
const OWNED = {
  durable_objects: { bindings: [{ name: 'COUNTER', class_name: 'Counter' }] },
  migrations: [{ tag: 'v1', new_sqlite_classes: ['Counter', 'Unbound'] }],
};
const bound = (script: string, className = 'Counter') => ({
  durable_objects: { bindings: [{ name: 'THEIRS', class_name: className, script_name: script }] },
});
async function deployed(...args: Parameters<typeof deploy>) {
  const { code, stdout, stderr } = await deploy(...args);
  assert.equal(code, 0, stdout + stderr);
}
await deployed('owner', OWNER(1), OWNED);
await deployed('caller', CALLER, bound('owner'));

const post = async (script: string, path: string, body: object = {}): Promise<any> =>
  (await edge.request(edge.host(script), path, { method: 'POST', body: JSON.stringify(body) })).json();
const viaOwner = (name: string, method: string, args: unknown[] = []) => post('owner', '/', { name, method, args });
const viaCaller = (name: string, method: string, args: unknown[] = []) =>
  post('caller', '/call', { name, method, args });
const get = async (path: string) => (await edge.request(edge.host('caller'), path)).json();

describe('an object', () => {
  it('is the same by name from both Workers, with the same id and its name', async () => {
    assert.equal((await viaOwner('a', 'add', [1])).ok, 1);
    const called = await viaCaller('a', 'add', [2]);
    assert.equal(called.ok, 3);
    assert.equal((await viaOwner('a', 'add', [4])).ok, 7);
    const { id } = await viaOwner('a', 'who');
    assert.deepEqual([called.id, called.stub], [id, [id, 'a']]);
    assert.deepEqual((await viaCaller('a', 'who')).ok, { id, name: 'a', generation: 1 });
  });

  it('is found by the text of its id, and by a new unique id', async () => {
    const { id } = await viaOwner('a', 'who');
    assert.equal((await post('caller', '/call', { id, method: 'add', args: [1] })).ok, 8);
    const fresh = await post('caller', '/call', { id: 'new', method: 'add', args: [5] });
    assert.equal(fresh.ok, 5);
    assert.equal((await post('caller', '/call', { id: fresh.id, method: 'add', args: [1] })).ok, 6);
    const foreign = await post('caller', '/call', { id: '0'.repeat(64), method: 'add' });
    assert.match(foreign.error, /TypeError: Durable Object ID is not valid/);
  });

  it('is one, however many ask at the same time', async () => {
    const values = (await get('/many')) as number[];
    assert.deepEqual(
      values.sort((a, b) => a - b),
      Array.from({ length: 100 }, (_, i) => i + 1),
    );
  });
});

describe('fetch', () => {
  it('carries method, URL, headers, body, cf and the answer, and nothing of ours', async () => {
    const answer = await edge.request(edge.host('caller'), '/fetch');
    assert.deepEqual([answer.status, answer.headers['x-answer']], [201, 'yes']);
    const { headers, ...rest } = answer.json();
    assert.deepEqual(rest, { method: 'POST', url: 'https://object/path?q=1', body: 'body', x: 'ü%', name: 'rpc' });
    assert.deepEqual(
      headers.filter((name: string) => name.startsWith('selvedge')),
      [],
    );
    const passed = (
      await edge.request(edge.host('caller'), '/pass', { method: 'POST', body: 'x'.repeat(500_000) })
    ).json();
    assert.deepEqual([passed.body.length, typeof passed.colo], [500_000, 'string']);
  });

  it('carries WebSockets, also of objects that sleep', async () => {
    const sockets = await Promise.all(
      ['ann', 'bob'].map((name) => edge.websocket(edge.host('caller'), `/ws?name=${name}`)),
    );
    for (const text of ['hello', 'again']) {
      const heard = sockets.map((socket) => once(socket, 'message'));
      sockets[0]!.send(text);
      assert.deepEqual(
        (await Promise.all(heard)).map(([data]) => String(data)),
        [`ann: ${text}`, `ann: ${text}`],
      );
      // The runtime lets objects without requests go after ten seconds.
      if (text === 'hello') await new Promise((resolve) => setTimeout(resolve, 11_000));
    }
    for (const socket of sockets) socket.close(1000);
  });
});

describe('RPC', () => {
  const cases: [path: string, expected: unknown][] = [
    ['/values', [1, 'grüße', null, [true, { a: 1 }], true]],
    ['/property', 'from a getter'],
    [
      '/callback',
      [
        [10, 20],
        [1, 2],
      ],
    ],
    ['/target', [5, 5, 7]],
    ['/nested', [4, 0]],
    ['/stream', ['a stream', 'mine']],
    ['/missing', { error: 'TypeError: The RPC receiver does not implement the method "nothing".' }],
    ['/own', { error: 'TypeError: The RPC receiver does not implement the method "label".' }],
    ['/fail', { error: 'RangeError: out of range' }],
  ];
  for (const [path, expected] of cases) {
    it(`carries ${path.slice(1)} as within one process`, async () => assert.deepEqual(await get(path), expected));
  }
});

describe('the owner', () => {
  it('is deployed again meanwhile: no call is lost, and its new version answers', async () => {
    let running = true;
    let calls = 0;
    const calling = (async () => {
      while (running) {
        const { ok, error } = await viaCaller('kept', 'add');
        assert.equal(ok, ++calls, error);
      }
    })();
    await deployed('owner', OWNER(2), OWNED);
    await eventually(async () => (await viaCaller('a', 'who')).ok?.generation === 2);
    running = false;
    await calling;
    assert.equal((await viaOwner('kept', 'add', [0])).ok, calls);
    assert.ok(calls > 5);
  });

  it('is started again when it was killed', async () => {
    const { body } = await edge.api('/../../selvedge/status');
    const { pid } = body.result.isolates.find(({ script }: { script: string }) => script === 'owner');
    const before = (await viaCaller('a', 'add', [0])).ok;
    process.kill(pid, 'SIGKILL');
    assert.equal(await eventually(async () => (await viaCaller('a', 'add', [0]).catch(() => null))?.ok), before);
  });

  it('is not deleted while others bind it, and shown in what is bound', async () => {
    const settings = await edge.api(`/accounts/${edge.accountId}/workers/scripts/caller/settings`);
    const [{ namespace_id: id, ...shown }] = settings.body.result.bindings;
    assert.deepEqual(shown, {
      name: 'THEIRS',
      type: 'durable_object_namespace',
      class_name: 'Counter',
      script_name: 'owner',
    });
    const references = await edge.api(`/accounts/${edge.accountId}/workers/scripts/owner/references`);
    assert.deepEqual(references.body.result.durable_objects, [
      {
        service: 'caller',
        environment: 'production',
        name: 'THEIRS',
        durable_object_namespace_id: id,
        durable_object_namespace_name: 'owner_Counter',
      },
    ]);
    const { status, body } = await edge.api(`/accounts/${edge.accountId}/workers/scripts/owner`, { method: 'DELETE' });
    assert.deepEqual([status, body.errors[0].code], [409, 10059]);
  });
});

describe('a deploy is refused', () => {
  const refused = async (config: object, env = {}) => {
    const { code, stdout, stderr } = await deploy('refused', CALLER, config, env);
    assert.notEqual(code, 0);
    return stdout + stderr;
  };

  it('for a Worker that is not there, or a class that it does not have', async () => {
    assert.match(await refused(bound('nowhere')), /class 'Counter' because script 'nowhere' was not found.*10061/s);
    assert.match(
      await refused(bound('owner', 'Nothing')),
      /class 'Nothing' of script 'owner'.*not currently configured.*10061/s,
    );
  });

  it('for a Worker of another account, as for one that is not there', async () => {
    const made = await edge.selvedge(['account', 'create', '--name', 'Other', '--subdomain', 'other']);
    const account = /[0-9a-f]{32}/.exec(made.stdout)![0];
    const token = (await edge.selvedge(['token', 'create', '--account', account])).stdout.trim().split('\n').at(-1)!;
    const env = { CLOUDFLARE_ACCOUNT_ID: account, CLOUDFLARE_API_TOKEN: token };
    assert.match(await refused(bound('owner'), env), /script 'owner' was not found.*10061/s);
  });
});
