/** kill -9 of everything while a Durable Object class goes from one Worker to the other and back, and races: its objects are wholly with one. */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startEdge } from './harness.ts';

const ATTEMPTS = 6;
/** A transfer takes about as long as this when nobody disturbs it. */
const LONGEST_MS = 900;

const directory = await mkdtemp(join(tmpdir(), 'selvedge-transfer-'));
const dataDir = join(directory, 'data');
let edge = await startEdge({ dataDir });
after(async () => {
  await edge.close();
  await rm(directory, { recursive: true, force: true });
});

const SOURCE = (by: string) => `
import { DurableObject } from 'cloudflare:workers';
export class Counter extends DurableObject {
  add(n) {
    const { sql } = this.ctx.storage;
    sql.exec('CREATE TABLE IF NOT EXISTS t (n INTEGER)');
    for (let i = 0; i < n; i++) sql.exec('INSERT INTO t VALUES (1)');
    return { value: sql.exec('SELECT count(*) AS n FROM t').one().n, by: '${by}' };
  }
}
export default { async fetch(request, env) {
  return Response.json(await env.OBJECTS.getByName('a').add(Number(await request.text())));
} }`;

/** Uploads the Worker with a class of its own (\`migrations\`), or one that it has. */
async function upload(script: string, migrations: object): Promise<void> {
  const form = new FormData();
  const bindings = [{ type: 'durable_object_namespace', name: 'OBJECTS', class_name: 'Counter' }];
  const metadata = { main_module: 'index.js', compatibility_date: '2026-11-01', bindings, migrations };
  form.set('metadata', JSON.stringify(metadata));
  form.set('index.js', new Blob([SOURCE(script)], { type: 'application/javascript+module' }), 'index.js');
  const path = `/accounts/${edge.accountId}/workers/scripts/${script}`;
  const { status, body } = await edge.api(path, { method: 'PUT', body: form });
  assert.equal(status, 200, JSON.stringify(body));
  await reachable(script);
}

async function reachable(script: string): Promise<void> {
  const path = `/accounts/${edge.accountId}/workers/scripts/${script}/subdomain`;
  assert.equal((await edge.api(path, { method: 'POST', body: { enabled: true } })).status, 200);
}

async function add(script: string, n: number): Promise<{ value: number; by: string }> {
  const answer = await edge.request(edge.host(script), '/', { method: 'POST', body: String(n) });
  assert.equal(answer.status, 200, answer.text.slice(0, 300));
  return answer.json();
}

async function owners(): Promise<string[]> {
  const { body } = await edge.api(`/accounts/${edge.accountId}/workers/durable_objects/namespaces`);
  return body.result.map(({ script }: { script: string }) => script);
}

await upload('one', { new_tag: 'v0', new_sqlite_classes: ['Counter'] });
let owner = 'one';
let acknowledged = 0;
let attempted = 0;

for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
  // Before the commit, and after it.
  const afterMs = Math.round(((attempt - 1) * LONGEST_MS) / ATTEMPTS) + randomInt(100);
  it(`killed after ${afterMs} ms, the objects are with one of the two, whole, and both reach them`, async (t) => {
    const taker = owner === 'one' ? 'two' : 'one';
    let running = true;
    const load = (async () => {
      while (running) {
        attempted++;
        const done = await add(owner, 1).catch(() => null);
        if (!done) break;
        assert.ok(done.value > acknowledged, 'an acknowledged write is lost');
        acknowledged = done.value;
      }
    })();
    await sleep(200);
    const transfer = { transferred_classes: [{ from: 'Counter', from_script: owner, to: 'Counter' }] };
    const moving = upload(taker, { new_tag: `v${attempt}`, ...transfer }).catch(() => undefined);
    await sleep(afterMs);
    process.kill(edge.pid, 'SIGKILL');
    await edge.stop();
    running = false;
    await Promise.all([load, moving]);
    edge = await startEdge({ dataDir });
    const found = await owners();
    assert.equal(found.length, 1, `${found}`);
    const moved = found[0] === taker;
    t.diagnostic(moved ? 'they had moved' : 'they had not moved');
    // Once they have moved, who had them reaches them by the way that the transfer made.
    const ways = moved ? [taker, owner] : [owner];
    owner = found[0]!;
    for (const way of ways) {
      // The kill may have come before the address of a new Worker was on.
      await reachable(way);
      const { value, by } = await add(way, 0);
      assert.equal(by, owner);
      assert.ok(value >= acknowledged && value <= attempted, `${value} of ${acknowledged} to ${attempted}`);
      acknowledged = value;
      attempted = value;
    }
  });
}

it('of Workers that take them at the same time one gets them', async () => {
  const transfer = { transferred_classes: [{ from: 'Counter', from_script: owner, to: 'Counter' }] };
  const takers = ['three', 'four', 'five'];
  const ends = await Promise.allSettled(takers.map((taker) => upload(taker, { new_tag: 'v1', ...transfer })));
  const winners = takers.filter((_, index) => ends[index]!.status === 'fulfilled');
  assert.deepEqual(await owners(), winners);
  assert.deepEqual(await add(winners[0]!, 0), { value: acknowledged, by: winners[0] });
  for (const end of ends) if (end.status === 'rejected') assert.match(String(end.reason), /10074/);
});
