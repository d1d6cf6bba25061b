/** A Durable Object class that goes to another Worker, with its objects: real wrangler, real Workers, under load. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { eventually, startEdge } from './harness.ts';

const edge = await startEdge();
after(() => edge.close());

const OBJECT = (className: string, by: string) => `
export class ${className} extends DurableObject {
  async add(n) {
    const value = ((await this.ctx.storage.get('n')) ?? 0) + n;
    await this.ctx.storage.put('n', value);
    return { value, by: '${by}' };
  }
  sql(...statement) { return this.ctx.storage.sql.exec(...statement).toArray() }
  async arm(ms) { await this.ctx.storage.setAlarm(Date.now() + ms) }
  async alarm() { await this.ctx.storage.put('rang', '${by}') }
  async rang() { return (await this.ctx.storage.get('rang')) ?? null }
}`;
/** \`env.OBJECTS\` is a namespace; '/service' asks the Worker of the binding SERVICE. */
const SOURCE = (by: string, ...classes: string[]) => `
import { DurableObject } from 'cloudflare:workers';
${classes.map((className) => OBJECT(className, by)).join('\n')}
export default { async fetch(request, env) {
  if (new URL(request.url).pathname === '/service') return env.SERVICE.fetch(new Request('http://service/', request));
  const { binding = 'OBJECTS', name, id, method, args = [] } = await request.json();
  try {
    const objectId = id ? env[binding].idFromString(id) : env[binding].idFromName(name);
    return Response.json({ ok: await env[binding].get(objectId)[method](...args), id: objectId.toString() });
  } catch (error) { return Response.json({ error: error.message }, { status: 500 }) }
} }`;

const bound = (className: string, script?: string) => ({
  durable_objects: { bindings: [{ name: 'OBJECTS', class_name: className, ...(script && { script_name: script }) }] },
});
const transferred = (tag: string, from: string, script: string, to: string) => ({
  tag,
  transferred_classes: [{ from, from_script: script, to }],
});
async function deploy(name: string, source: string, config: object, env = {}) {
  const main = { name, main: 'index.js', compatibility_date: '2026-11-01', ...config };
  return edge.wrangler(['deploy'], { cwd: await edge.project(main, { 'index.js': source }), env });
}
async function deployed(...args: Parameters<typeof deploy>) {
  const { code, stdout, stderr } = await deploy(...args);
  assert.equal(code, 0, stdout + stderr + edge.output().slice(-3000));
}
async function refused(...args: Parameters<typeof deploy>) {
  const { code, stdout, stderr } = await deploy(...args);
  assert.notEqual(code, 0, stdout);
  return stdout + stderr;
}
async function call(script: string, method: string, args: unknown[] = [], more: object = {}, path = '/'): Promise<any> {
  const body = JSON.stringify({ method, args, name: 'a', ...more });
  const answer = await edge.request(edge.host(script), path, { method: 'POST', body });
  assert.equal(answer.status, 200, answer.text.slice(0, 500));
  return answer.json();
}
const scripts = `/accounts/${edge.accountId}/workers/scripts`;
const namespaces = async (): Promise<any[]> =>
  (await edge.api(`/accounts/${edge.accountId}/workers/durable_objects/namespaces`)).body.result;
async function killed(script: string) {
  const { body } = await edge.api('/../../selvedge/status');
  const found = body.result.isolates.filter((each: { script: string }) => each.script === script);
  assert.ok(found.length > 0, `${script} does not run`);
  for (const { pid } of found) process.kill(pid, 'SIGKILL');
}

const GIVER = {
  durable_objects: {
    bindings: [
      { name: 'OBJECTS', class_name: 'Counter' },
      { name: 'KEPT', class_name: 'Kept' },
    ],
  },
  migrations: [{ tag: 'v1', new_sqlite_classes: ['Counter', 'Kept'] }],
};
const CALLER = { ...bound('Counter', 'giver'), services: [{ binding: 'SERVICE', service: 'giver' }] };
const TAKER = { ...bound('Tally'), migrations: [transferred('v1', 'Counter', 'giver', 'Tally')] };
const takerSource = SOURCE('taker', 'Tally');
await deployed('giver', SOURCE('giver', 'Counter', 'Kept'), GIVER);
await deployed('caller', SOURCE('caller'), CALLER);
const [counter] = (await namespaces()).filter(({ class: className }) => className === 'Counter');

describe('a transfer', () => {
  it('brings all objects with their data and alarms to the other Worker, and loses no request meanwhile', async () => {
    await call('giver', 'sql', ['CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT)']);
    await call('giver', 'sql', ['INSERT INTO t VALUES (?, ?)', 'k', 'grüße']);
    await call('giver', 'add', [7], { binding: 'KEPT' });
    const { id } = await call('giver', 'add', [41], { name: 'by id' });
    await call('giver', 'arm', [20_000], { name: 'alarm' });

    let running = true;
    const seen = new Map<string, { calls: number; by: Set<string> }>();
    const load = async (script: string, path: string) => {
      const name = `${script}${path}`;
      const mine = { calls: 0, by: new Set<string>() };
      seen.set(name, mine);
      while (running) {
        const { value, by } = (await call(script, 'add', [1], { name }, path)).ok;
        assert.equal(value, ++mine.calls, name);
        mine.by.add(by);
      }
    };
    const loads = Promise.all([load('giver', '/'), load('caller', '/'), load('caller', '/service')]);
    await Promise.race([loads, eventually(() => [...seen.values()].every(({ calls }) => calls > 5))]);
    await Promise.race([loads, deployed('taker', takerSource, TAKER)]);
    const before = new Map([...seen].map(([name, { calls }]) => [name, calls]));
    // Three ways to them that nobody has changed.
    await Promise.race([
      loads,
      eventually(() => [...seen].every(([name, { calls }]) => calls > before.get(name)! + 5)),
    ]);
    running = false;
    await loads;
    for (const [name, { calls, by }] of seen) {
      assert.deepEqual([...by], ['giver', 'taker'], name);
      assert.deepEqual((await call('taker', 'add', [0], { name })).ok, { value: calls, by: 'taker' });
    }
    assert.deepEqual((await call('taker', 'sql', ['SELECT * FROM t'])).ok, [{ k: 'k', v: 'grüße' }]);
    assert.deepEqual((await call('taker', 'add', [1], { id })).ok, { value: 42, by: 'taker' });
    // What was not transferred stays.
    assert.deepEqual((await call('giver', 'add', [1], { binding: 'KEPT' })).ok, { value: 8, by: 'giver' });
    assert.equal((await call('taker', 'rang', [], { name: 'alarm' })).ok, null);
    await eventually(async () => (await call('taker', 'rang', [], { name: 'alarm' })).ok === 'taker', 25_000);
  });

  it('keeps the id of the namespace and shows whose it is', async () => {
    const all = (await namespaces()).map(({ id, script, class: name }) => ({ id, script, name }));
    assert.deepEqual(
      all.filter(({ name }) => name !== 'Kept'),
      [{ id: counter.id, script: 'taker', name: 'Tally' }],
    );
    const objects = await edge.api(
      `/accounts/${edge.accountId}/workers/durable_objects/namespaces/${counter.id}/objects`,
    );
    assert.equal(objects.body.result.length, 6);
    const references = (await edge.api(`${scripts}/taker/references`)).body.result.durable_objects;
    assert.deepEqual(references.map(({ service }: { service: string }) => service).sort(), ['caller', 'giver']);
    assert.deepEqual((await edge.api(`${scripts}/giver/references`)).body.result.durable_objects, []);
  });

  it('is done once: the same deploy again changes nothing', async () => {
    const before = await namespaces();
    await deployed('taker', takerSource, TAKER);
    assert.deepEqual(await namespaces(), before);
    assert.equal((await call('giver', 'add', [0], { name: 'by id' })).ok.value, 42);
  });

  it('holds when the processes of both are killed', async () => {
    await killed('taker');
    await killed('giver');
    const again = { name: 'by id' };
    await eventually(async () => (await call('giver', 'add', [0], again).catch(() => null))?.ok.by === 'taker');
    assert.deepEqual((await call('caller', 'add', [0], again)).ok, { value: 42, by: 'taker' });
  });

  it('is not undone by a rollback of who had the class', async () => {
    const { body } = await edge.api(`${scripts}/giver/deployments`);
    const [, before] = body.result.deployments;
    const { status, body: answer } = await edge.api(`${scripts}/giver/deployments`, {
      method: 'POST',
      body: { versions: [{ version_id: before.versions[0].version_id, percentage: 100 }] },
    });
    assert.deepEqual([status, answer.errors[0].code], [400, 10211]);
  });
});

describe('the next deploy of a Worker that binds the class', () => {
  it('is refused with the old name, and taken with the new one', async () => {
    assert.match(
      await refused('giver', SOURCE('giver', 'Counter', 'Kept'), GIVER),
      /class 'Counter' because it is not currently configured.*10061/s,
    );
    assert.match(await refused('caller', SOURCE('caller'), CALLER), /class 'Counter' of script 'giver'.*10061/s);
    await deployed('giver', SOURCE('giver', 'Kept'), { ...bound('Tally', 'taker'), migrations: GIVER.migrations });
    assert.deepEqual((await call('giver', 'add', [0], { name: 'by id' })).ok, { value: 42, by: 'taker' });
  });
});

describe('a transfer is refused', () => {
  const refusal = (migration: object, env = {}) =>
    refused('refused', SOURCE('refused', 'Mine'), { ...bound('Mine'), migrations: [migration] }, env);

  it('from a Worker or of a class that is not there, or no longer', async () => {
    for (const [className, script] of [
      ['Tally', 'nobody'],
      ['Nothing', 'taker'],
      ['Counter', 'giver'],
      ['Mine', 'refused'],
    ] as const) {
      const text = await refusal(transferred('v1', className, script, 'Mine'));
      assert.match(text, new RegExp(`script '${script}' has no Durable Objects of class '${className}'.*10074`, 's'));
    }
  });

  it('from a Worker of another account, as from one that is not there', async () => {
    const made = await edge.selvedge(['account', 'create', '--name', 'Other', '--subdomain', 'other']);
    const account = /[0-9a-f]{32}/.exec(made.stdout)![0];
    const token = (await edge.selvedge(['token', 'create', '--account', account])).stdout.trim().split('\n').at(-1)!;
    const env = { CLOUDFLARE_ACCOUNT_ID: account, CLOUDFLARE_API_TOKEN: token };
    assert.match(
      await refusal(transferred('v1', 'Tally', 'taker', 'Mine'), env),
      /script 'taker' has no Durable Objects.*10074/s,
    );
  });

  it('to a class that there is already, or that the script does not export; everything stays as it was', async () => {
    const before = await namespaces();
    const onto = { ...bound('Kept'), migrations: [...GIVER.migrations, transferred('v2', 'Tally', 'taker', 'Kept')] };
    assert.match(await refused('giver', SOURCE('giver', 'Kept'), onto), /'Kept' that is already depended on.*10074/s);
    const absent = { migrations: [transferred('v1', 'Tally', 'taker', 'Absent')] };
    assert.match(await refused('refused', SOURCE('refused', 'Mine'), absent), /does not export class 'Absent'.*10070/s);
    assert.deepEqual(await namespaces(), before);
    assert.equal((await call('taker', 'add', [0], { name: 'by id' })).ok.by, 'taker');
  });
});

describe('transferred objects', () => {
  it('stay when the Worker that had them first is deleted', async () => {
    const { status, body } = await edge.api(`${scripts}/giver?force=true`, { method: 'DELETE' });
    assert.equal(status, 200, JSON.stringify(body));
    // What is open in a process would hide that files are gone.
    await killed('taker');
    const again = { name: 'by id' };
    await eventually(async () => (await call('taker', 'add', [0], again).catch(() => null))?.ok.value === 42);
  });

  it('can be transferred on, with other classes of both Workers, and go when they are deleted', async () => {
    const config = {
      durable_objects: {
        bindings: [
          { name: 'OBJECTS', class_name: 'Tally', script_name: undefined as string | undefined },
          { name: 'OWN', class_name: 'Own' },
        ],
      },
      migrations: [{ tag: 'v1', new_sqlite_classes: ['Own'] }],
    };
    const first = { ...config, durable_objects: { bindings: [{ name: 'OBJECTS', class_name: 'Own' }] } };
    await deployed('third', SOURCE('third', 'Own'), first);
    await call('third', 'add', [5]);
    const migrations = [...config.migrations, transferred('v2', 'Tally', 'taker', 'Tally')];
    // The way in which it was bound before the transfer: now they are its own.
    config.durable_objects.bindings[0] = { name: 'OBJECTS', class_name: 'Tally', script_name: 'taker' };
    await deployed('third', SOURCE('third', 'Own', 'Tally'), { ...config, migrations });
    for (const script of ['third', 'taker', 'caller']) {
      assert.deepEqual((await call(script, 'add', [0], { name: 'by id' })).ok, { value: 42, by: 'third' }, script);
    }
    assert.deepEqual((await call('third', 'add', [0], { binding: 'OWN' })).ok, { value: 5, by: 'third' });
    // wrangler itself refuses to delete a class that came by a transfer: "non-existent class".
    const form = new FormData();
    const bindings = [{ type: 'durable_object_namespace', name: 'OBJECTS', class_name: 'Own' }];
    const deletion = { old_tag: 'v2', new_tag: 'v3', deleted_classes: ['Tally'] };
    const metadata = { main_module: 'index.js', compatibility_date: '2026-11-01', bindings, migrations: deletion };
    form.set('metadata', JSON.stringify(metadata));
    const type = 'application/javascript+module';
    form.set('index.js', new Blob([SOURCE('third', 'Own')], { type }), 'index.js');
    const { status, body } = await edge.api(`${scripts}/third`, { method: 'PUT', body: form });
    assert.equal(status, 200, JSON.stringify(body));
    const left = await readdir(join(edge.dataDir, 'objects'), { recursive: true });
    assert.deepEqual(
      left.filter((path) => path.includes(counter.id)),
      [],
    );
    assert.deepEqual(
      (await namespaces()).map(({ class: className }) => className),
      ['Own'],
    );
    assert.deepEqual((await call('third', 'add', [0])).ok, { value: 5, by: 'third' });
  });
});
