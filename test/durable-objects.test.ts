/** Durable Objects with the real wrangler and real Workers: migrations, storage, RPC, alarms, WebSockets that hibernate, deploys and kills. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { eventually, startEdge } from './harness.ts';

const edge = await startEdge();
after(() => edge.close());

const SOURCE = (version: string, more = '') => `
import { DurableObject } from 'cloudflare:workers';
export class Counter extends DurableObject {
  async add(n) {
    const value = ((await this.ctx.storage.get('n')) ?? 0) + n;
    await this.ctx.storage.put('n', value);
    return { value, version: '${version}' };
  }
  async slow(ms) { await scheduler.wait(ms); return { value: 'slow', version: '${version}' }; }
  sql(...statement) {
    this.ctx.storage.sql.exec('CREATE TABLE IF NOT EXISTS t (k TEXT PRIMARY KEY, v TEXT)');
    return this.ctx.storage.sql.exec(...statement).toArray();
  }
  async both(fail) {
    try {
      await this.ctx.storage.transaction(async (txn) => { await txn.put('n', 1000); if (fail) throw new Error('rolled back'); });
    } catch (error) { return error.message; }
    return 'done';
  }
  async arm(ms) { await this.ctx.storage.setAlarm(Date.now() + ms); return 'armed'; }
  async alarm() { await this.ctx.storage.put('rang', ((await this.ctx.storage.get('rang')) ?? 0) + 1); }
  async rang() { return (await this.ctx.storage.get('rang')) ?? 0; }
  async read() { return (await this.ctx.storage.get('n')) ?? 0; }
}
export class Room extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair('ping', 'pong'));
  }
  async fetch(request) {
    const [client, server] = Object.values(new WebSocketPair());
    const name = new URL(request.url).searchParams.get('name');
    this.ctx.acceptWebSocket(server, [name]);
    server.serializeAttachment({ name });
    return new Response(null, { status: 101, webSocket: client });
  }
  webSocketMessage(from, text) {
    const { name } = from.deserializeAttachment();
    const to = text.startsWith('@') ? this.ctx.getWebSockets(text.slice(1, text.indexOf(' '))) : this.ctx.getWebSockets();
    for (const socket of to) socket.send(name + ': ' + text);
  }
  webSocketClose(socket, code, reason) { socket.close(code, 'bye ' + reason); }
}
${more}
export default { async fetch(request, env) {
  const url = new URL(request.url);
  if (url.pathname === '/room') return env.ROOM.getByName(url.searchParams.get('room') ?? 'r').fetch(request);
  if (url.pathname === '/version') return new Response('${version}');
  const { method, args = [], name = 'a', id } = await request.json();
  try {
    const objectId = id === 'new' ? env.COUNTER.newUniqueId() : id ? env.COUNTER.idFromString(id) : env.COUNTER.idFromName(name);
    const result = await env.COUNTER.get(objectId, { locationHint: 'weur' })[method](...args);
    return Response.json({ ok: result, id: objectId.toString() });
  } catch (error) {
    return Response.json({ error: error.message }, { status: 500 });
  }
} }`;

const CONFIG = {
  name: 'objects',
  main: 'index.js',
  compatibility_date: '2026-11-01',
  durable_objects: {
    bindings: [
      { name: 'COUNTER', class_name: 'Counter' },
      { name: 'ROOM', class_name: 'Room' },
    ],
  },
  migrations: [{ tag: 'v1', new_sqlite_classes: ['Counter', 'Room'] }],
};

async function deploy(source: string, over: Record<string, unknown> = {}) {
  const cwd = await edge.project({ ...CONFIG, ...over }, { 'index.js': source });
  return edge.wrangler(['deploy'], { cwd });
}
async function deployed(source: string, over: Record<string, unknown> = {}) {
  const { code, stdout, stderr } = await deploy(source, over);
  assert.equal(code, 0, stdout + stderr);
}
await deployed(SOURCE('one'));
const host = edge.host('objects');

async function call(method: string, args: unknown[] = [], more: object = {}, at = host): Promise<any> {
  const answer = await edge.request(at, '/', { method: 'POST', body: JSON.stringify({ method, args, ...more }) });
  return answer.json();
}
async function isolate(script = 'objects') {
  const { body } = await edge.api('/../../selvedge/status');
  return body.result.isolates.filter((each: { script: string; state: string }) => each.script === script);
}
const namespaces = async () =>
  (await edge.api(`/accounts/${edge.accountId}/workers/durable_objects/namespaces`)).body.result;

describe('an object', () => {
  it('keeps its state, by name, by a unique id and by the id’s text', async () => {
    for (let i = 1; i <= 3; i++) assert.equal((await call('add', [1])).ok.value, i);
    assert.equal((await call('add', [5], { name: 'b' })).ok.value, 5);
    const { id } = await call('add', [7], { id: 'new' });
    assert.equal((await call('add', [1], { id })).ok.value, 8);
    assert.match((await call('add', [1], { id: '0'.repeat(64) })).error, /not valid|Invalid/i);
  });

  it('has SQL and transactions', async () => {
    await call('sql', ['INSERT INTO t VALUES (?, ?)', 'k', 'grüße'], { name: 'sql' });
    assert.deepEqual((await call('sql', ['SELECT * FROM t'], { name: 'sql' })).ok, [{ k: 'k', v: 'grüße' }]);
    assert.match((await call('sql', ['SELEC'], { name: 'sql' })).error, /syntax error/);
    assert.equal((await call('both', [true], { name: 'txn' })).ok, 'rolled back');
    assert.equal((await call('read', [], { name: 'txn' })).ok, 0);
    assert.equal((await call('both', [false], { name: 'txn' })).ok, 'done');
    assert.equal((await call('read', [], { name: 'txn' })).ok, 1000);
  });

  it('rings its alarm, once', async () => {
    await call('arm', [100], { name: 'alarm' });
    await eventually(async () => (await call('rang', [], { name: 'alarm' })).ok === 1);
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal((await call('rang', [], { name: 'alarm' })).ok, 1);
  });

  it('is one, however many ask at the same time', async () => {
    const answers = await Promise.all(Array.from({ length: 100 }, () => call('add', [1], { name: 'many' })));
    assert.deepEqual(
      answers.map(({ ok }) => ok.value).sort((a, b) => a - b),
      Array.from({ length: 100 }, (_, i) => i + 1),
    );
    assert.equal((await isolate()).length, 1);
  });

  it('holds WebSockets, with tags, attachments and answers of its own', async () => {
    const ada = await edge.websocket(host, '/room?name=ada');
    const bob = await edge.websocket(host, '/room?name=bob');
    const heard = (socket: typeof ada) => once(socket, 'message').then(([data]) => String(data));
    const both = Promise.all([heard(ada), heard(bob)]);
    ada.send('hello');
    assert.deepEqual(await both, ['ada: hello', 'ada: hello']);
    const only = heard(bob);
    ada.send('@bob psst');
    assert.equal(await only, 'ada: @bob psst');
    const pong = heard(ada);
    ada.send('ping');
    assert.equal(await pong, 'pong');
    const closed = once(ada, 'close');
    ada.close(4001, 'me');
    assert.deepEqual((await closed)[0], 4001);
    bob.terminate();
  });
});

describe('the API', () => {
  it('lists namespaces and their objects', async () => {
    const all = await namespaces();
    assert.deepEqual(
      all.map(({ class: name, script, use_sqlite: sql }: any) => [name, script, sql]),
      [
        ['Counter', 'objects', true],
        ['Room', 'objects', true],
      ],
    );
    const path = `/accounts/${edge.accountId}/workers/durable_objects/namespaces/${all[0].id}/objects`;
    const { body } = await edge.api(path);
    assert.ok(body.result.length >= 5 && body.result.every(({ id }: { id: string }) => /^[0-9a-f]{64}$/.test(id)));
    const missing = await edge.api(path.replace(all[0].id, '0'.repeat(32)));
    assert.deepEqual([missing.status, missing.body.errors[0].code], [404, 10066]);
  });
});

describe('a deploy', () => {
  it('hands the objects over: no request fails, no write is lost or doubled, two processes never run', async () => {
    let stop = false;
    const answers: any[] = [];
    const failures: unknown[] = [];
    const writing = Array.from({ length: 8 }, async () => {
      while (!stop) {
        const answer = await edge.request(host, '/', {
          method: 'POST',
          body: JSON.stringify({ method: 'add', args: [1], name: 'moved' }),
        });
        if (answer.status === 200) answers.push(answer.json().ok);
        else failures.push(answer.text.slice(0, 300));
      }
    });
    let most = 0;
    const watching = (async () => {
      while (!stop) {
        most = Math.max(most, (await isolate()).length);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
    for (const version of ['two', 'three', 'four']) await deployed(SOURCE(version));
    await new Promise((resolve) => setTimeout(resolve, 300));
    stop = true;
    await Promise.all([...writing, watching]);
    assert.deepEqual(failures, []);
    assert.ok(answers.length > 100, String(answers.length));
    assert.deepEqual(
      answers.map(({ value }) => value).sort((a, b) => a - b),
      Array.from({ length: answers.length }, (_, i) => i + 1),
    );
    assert.deepEqual([...new Set(answers.map(({ version }) => version))].sort(), ['four', 'one', 'three', 'two']);
    assert.equal(most, 1);
  });

  it('lets a request that is under way end', async () => {
    const slow = call('slow', [1_500], { name: 'slow' });
    await new Promise((resolve) => setTimeout(resolve, 300));
    await deployed(SOURCE('five'));
    assert.equal((await slow).ok.version, 'four');
    assert.equal((await edge.request(host, '/version')).text, 'five');
  });

  it('ends WebSockets that stay open, and the room goes on', async () => {
    const socket = await edge.websocket(host, '/room?name=ada');
    const closed = once(socket, 'close');
    await deployed(SOURCE('six'));
    await closed;
    const again = await edge.websocket(host, '/room?name=ada');
    const heard = once(again, 'message');
    again.send('back');
    assert.equal(String((await heard)[0]), 'ada: back');
    again.terminate();
  });

  it('while somebody tails keeps one process', async () => {
    const cwd = await edge.project(CONFIG, { 'index.js': SOURCE('six') });
    const tail = edge.wranglerProcess(['tail', 'objects', '--format', 'json'], { cwd });
    tail.stderr!.resume();
    try {
      let text = '';
      tail.stdout!.on('data', (data) => {
        text += data;
      });
      await eventually(async () => {
        await call('add', [1], { name: 'tailed' });
        return text.includes('"scriptName": "objects"') || text.includes('"outcome"');
      }, 20_000);
      assert.equal((await isolate()).filter(({ state }: { state: string }) => state === 'running').length, 1);
    } finally {
      tail.kill('SIGTERM');
      await once(tail, 'exit');
    }
    const { ok } = await call('read', [], { name: 'tailed' });
    assert.ok(ok > 0);
  });
});

describe('kill -9', () => {
  it('of the process loses no write that was answered', async () => {
    let stop = false;
    let answered = 0;
    const writing = Array.from({ length: 4 }, async () => {
      while (!stop) {
        const body = JSON.stringify({ method: 'add', args: [1], name: 'killed' });
        const answer = await edge.request(host, '/', { method: 'POST', body });
        // A process that dies with a request: 1101.
        if (answer.status === 200) answered = Math.max(answered, answer.json().ok.value);
      }
    });
    for (let i = 0; i < 4; i++) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      for (const { pid } of await isolate()) process.kill(pid, 'SIGKILL');
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
    stop = true;
    await Promise.all(writing);
    assert.ok(answered > 20, String(answered));
    assert.ok((await call('read', [], { name: 'killed' })).ok >= answered);
  });

  it('lets alarms ring that came due meanwhile, without a request', async () => {
    await call('arm', [500], { name: 'due' });
    for (const { pid } of await isolate()) process.kill(pid, 'SIGKILL');
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    assert.equal((await call('rang', [], { name: 'due' })).ok, 1);
  });
});

describe('migrations', () => {
  const two = (steps: object[], bindings: object[] = CONFIG.durable_objects.bindings) => ({
    migrations: [...CONFIG.migrations, ...steps],
    durable_objects: { bindings },
  });

  it('rename a class, whose objects stay', async () => {
    const before = (await call('read', [], { name: 'b' })).ok;
    await deployed(
      SOURCE('renamed').replaceAll('Counter', 'Tally'),
      two(
        [{ tag: 'v2', renamed_classes: [{ from: 'Counter', to: 'Tally' }] }],
        [
          { name: 'COUNTER', class_name: 'Tally' },
          { name: 'ROOM', class_name: 'Room' },
        ],
      ),
    );
    assert.equal((await call('read', [], { name: 'b' })).ok, before);
  });

  it('delete a class with its objects', async () => {
    const { id } = (await namespaces()).find(({ class: name }: any) => name === 'Room');
    const [storage] = readdirSync(join(edge.dataDir, 'objects'));
    const directory = join(edge.dataDir, 'objects', storage!, id);
    assert.ok(existsSync(directory));
    const source = SOURCE('deleted')
      .replaceAll('Counter', 'Tally')
      .replace(/export class Room[\s\S]*?\n}\n/, '');
    await deployed(
      source,
      two(
        [
          { tag: 'v2', renamed_classes: [{ from: 'Counter', to: 'Tally' }] },
          { tag: 'v3', deleted_classes: ['Room'] },
        ],
        [{ name: 'COUNTER', class_name: 'Tally' }],
      ),
    );
    assert.ok(!existsSync(directory));
    assert.deepEqual(
      (await namespaces()).map(({ class: name }: any) => name),
      ['Tally'],
    );
  });

  for (const [what, over, source, message] of [
    [
      'a binding without a migration',
      { migrations: [] },
      SOURCE('x'),
      /not currently configured to implement Durable Objects/,
    ],
    [
      'a class that is not exported',
      { migrations: [{ tag: 'v1', new_sqlite_classes: ['Absent'] }], durable_objects: { bindings: [] } },
      SOURCE('x'),
      /does not export class 'Absent'/,
    ],
    [
      'a transfer',
      { migrations: [{ tag: 'v1', transferred_classes: [{ from: 'Tally', from_script: 'objects', to: 'Counter' }] }] },
      SOURCE('x'),
      /transfer/,
    ],
  ] as [string, Record<string, unknown>, string, RegExp][]) {
    it(`are refused for ${what}`, async () => {
      const { code, stdout, stderr } = await deploy(source, { ...over, name: 'refused' });
      assert.notEqual(code, 0);
      assert.match(stdout + stderr, message);
    });
  }

  it('stand between a version and its way back', async () => {
    const { body } = await edge.api(`/accounts/${edge.accountId}/workers/scripts/objects/versions`);
    const [latest, ...older] = body.result.items as { id: string }[];
    const post = (versions: object[]) =>
      edge.api(`/accounts/${edge.accountId}/workers/scripts/objects/deployments`, {
        method: 'POST',
        body: { strategy: 'percentage', versions },
      });
    const back = await post([{ version_id: older.at(-1)!.id, percentage: 100 }]);
    assert.deepEqual([back.status, back.body.errors[0].code], [400, 10211]);
    const split = await post([
      { version_id: latest!.id, percentage: 50 },
      { version_id: older[0]!.id, percentage: 50 },
    ]);
    assert.match(split.body.errors[0].message, /cannot be split/);
  });
});

it('a deleted Worker leaves no objects behind', async () => {
  const cwd = await edge.project({ ...CONFIG, name: 'gone' }, { 'index.js': SOURCE('gone') });
  const before = readdirSync(join(edge.dataDir, 'objects')).length;
  await edge.deployed(['deploy'], { cwd });
  await call('add', [1], {}, edge.host('gone'));
  assert.equal(readdirSync(join(edge.dataDir, 'objects')).length, before + 1);
  await edge.deployed(['delete', '--name', 'gone', '--force'], { cwd });
  assert.equal(readdirSync(join(edge.dataDir, 'objects')).length, before);
});

it('all of it is there after a restart', async () => {
  const before = (await call('read', [], { name: 'b' })).ok;
  const { dataDir } = edge;
  await edge.stop();
  const again = await startEdge({ dataDir });
  try {
    const answer = await again.request(again.host('objects'), '/', {
      method: 'POST',
      body: JSON.stringify({ method: 'read', name: 'b' }),
    });
    assert.equal(answer.json().ok, before);
    assert.ok(before > 0);
  } finally {
    await again.close();
  }
});
