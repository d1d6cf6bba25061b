/** With real processes. */
import assert from 'node:assert/strict';
import { createHook } from 'node:async_hooks';
import { after, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Version } from '../model/documents.ts';
import { createHub } from '../state/local-bus.ts';
import { Fleet } from './fleet.ts';
import { Follower } from './follower.ts';
import { openBench } from './isolates/testing.ts';

const bench = await openBench();
const hub = createHub();
const fleet = new Fleet({
  host: bench.host,
  bus: hub,
  follower: new Follower(),
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
