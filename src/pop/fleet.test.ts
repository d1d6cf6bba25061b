/** With real processes. */
import assert from 'node:assert/strict';
import { createHook } from 'node:async_hooks';
import { after, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Version } from '../model/documents.ts';
import { keys } from '../model/keys.ts';
import { createHub } from '../state/local-bus.ts';
import { Fleet } from './fleet.ts';
import { Follower } from './follower.ts';
import { openBench } from './isolates/testing.ts';

const bench = await openBench();
const hub = createHub();
const follower = new Follower();
const fleet = new Fleet({
  host: bench.host,
  bus: hub,
  follower,
  memoryBudgetBytes: 1,
  onExit: () => undefined,
  holders: () => [],
});
after(async () => {
  fleet.close();
  await bench.close();
  await hub.close();
});

function withCron(source: string): Promise<Version> {
  return bench.version({ 'a.js': source }, { handlers: ['fetch', 'scheduled'] });
}

it('a cron event that runs keeps its process, whatever is deployed and however little memory there is', async () => {
  const version = await withCron(
    'export default { async scheduled() { await new Promise((resolve) => setTimeout(resolve, 1500)) } }',
  );
  const event = fleet.scheduled(version, '* * * * *', Date.now());
  // The budget of one byte is looked at four times a second.
  await sleep(700);
  assert.deepEqual(
    fleet.status().map(({ state, openRequests }) => ({ state, openRequests })),
    [{ state: 'running', openRequests: 1 }],
  );
  fleet.retire(version.id);
  assert.deepEqual(await event, { outcome: 'ok' });
  // Now it only lingers, so the lack of memory ends it.
  const deadline = Date.now() + 5_000;
  while (fleet.status().length > 0 && Date.now() < deadline) await sleep(20);
  assert.deepEqual(fleet.status(), []);
});

it('a process that was kept for events of another process is let go when that one ends', async () => {
  const version = await withCron('export default { scheduled() {} }');
  await Promise.all([fleet.hold(version, 'data'), fleet.hold(version, 'data')]);
  const open = () => fleet.status().map(({ openRequests }) => openRequests);
  assert.deepEqual(open(), [2]);
  fleet.holderGone('edge-0');
  assert.deepEqual(open(), [2]);
  fleet.holderGone('data');
  assert.deepEqual(open(), [0]);
  fleet.retire(version.id);
});

it('no process is kept for an event that nobody waits for any more', async () => {
  const version = await withCron('export default { scheduled() {} }');
  await assert.rejects(fleet.hold(version, 'data', 1), /too late/);
  assert.deepEqual(
    fleet.status().filter(({ openRequests }) => openRequests > 0),
    [],
  );
  fleet.retire(version.id);
});

it('what is kept for an event leaves nothing behind when that is over', async () => {
  const version = await withCron('export default { scheduled() {} }');
  fleet.release((await fleet.hold(version, 'data')).name);
  const timers = new Set<number>();
  const hook = createHook({
    init: (id, type) => void (type === 'Timeout' && timers.add(id)),
    destroy: (id) => void timers.delete(id),
  }).enable();
  for (let i = 0; i < 100; i++) fleet.release((await fleet.hold(version, 'data')).name);
  await sleep(50);
  hook.disable();
  assert.ok(timers.size < 10, `${timers.size} timers`);
  fleet.retire(version.id);
});

it('who waits for the start of a version whose objects a deploy has given away gets the version after it', async () => {
  const source = `import { DurableObject } from 'cloudflare:workers';
    export class Counter extends DurableObject {}
    export default { fetch: () => new Response() }`;
  const namespaces = [{ id: '1'.repeat(32), className: 'Counter', sqlite: true }];
  const before = await bench.version({ 'a.js': source }, { objects: { storage: '2'.repeat(32), namespaces } });
  const after = await bench.version({ 'a.js': source });
  const deployed = (version: Version) => {
    const { accountId, script } = version;
    const deployment = { versions: [{ versionId: version.id, percentage: 100 }] };
    const value = { accountId, name: script, aliases: {}, deployment };
    follower.apply({ sequence: 1, key: keys.version(accountId, script, version.id), value: version });
    follower.apply({ sequence: 2, key: keys.script(accountId, script), value });
  };
  deployed(before);
  const waiting = fleet.ensure(before);
  deployed(after);
  const { isolates, versionId } = await waiting;
  assert.equal(versionId, before.id);
  const running = (wanted: Version) => fleet.status().filter((each) => each.versionId === wanted.id);
  assert.deepEqual(running(before), []);
  assert.deepEqual(
    running(after).map(({ id }) => id),
    isolates.map(({ id }) => id),
  );
  fleet.retire(before.id);
  fleet.retire(after.id);
});
