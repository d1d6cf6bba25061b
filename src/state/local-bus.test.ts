import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { it } from 'node:test';
import { beTheOther, busConformance } from './bus.conformance.ts';
import { NoResponder } from './bus.ts';
import { connectBus, createHub, type Hub } from './local-bus.ts';

// This file is also the child process of its own tests.
if (process.env.BUS_TEST_CHILD) {
  const bus = connectBus();
  beTheOther(bus);
  bus.publish('child.ready', {});
  process.on('disconnect', () => process.exit());
} else {
  busConformance('the hub alone', async () => {
    const hub = createHub();
    beTheOther(hub);
    return { here: hub, close: () => hub.close() };
  });

  busConformance('a hub and a child process', async () => {
    const hub = createHub();
    const child = await forkChild(hub);
    return {
      here: hub,
      close: async () => {
        child.kill();
        await hub.close();
      },
    };
  });

  it('a request fails at once when its responder dies', async () => {
    const hub = createHub();
    const child = await forkChild(hub);
    const asked = hub.request('there.never', {}, { timeoutMs: 60_000 });
    child.kill('SIGKILL');
    await assert.rejects(asked, NoResponder);
    await assert.rejects(hub.request('there.echo', {}), NoResponder);
    await hub.close();
  });
}

async function forkChild(hub: Hub): Promise<ChildProcess> {
  const ready = Promise.withResolvers<void>();
  const stop = hub.subscribe('child.ready', () => ready.resolve());
  const child = fork(import.meta.filename, [], { env: { ...process.env, BUS_TEST_CHILD: '1' } });
  hub.attach(child);
  await ready.promise;
  stop();
  return child;
}
