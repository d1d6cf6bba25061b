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

  it('children hear each other, and the last one that registered answers', async () => {
    const hub = createHub();
    const [first, second] = [await forkChild(hub), await forkChild(hub)];
    const heard: unknown[] = [];
    const both = Promise.withResolvers<void>();
    hub.subscribe('heard', (message) => {
      if (heard.push(message) === 2) both.resolve();
    });
    // A child publishes; the other one and the child itself repeat what they heard.
    await hub.request('there.say', { subject: 'there.news', message: 'hello' });
    await both.promise;
    const one = { subject: 'there.news', message: 'hello' };
    assert.deepEqual(heard, [one, one]);
    assert.equal(await hub.request('there.pid', {}), second.pid);
    second.kill('SIGKILL');
    await new Promise((resolve) => second.once('exit', resolve));
    assert.equal(await hub.request('there.pid', {}), first.pid);
    first.kill('SIGKILL');
    await hub.close();
  });

  it('publishing to a child that is gone harms nobody', async () => {
    const hub = createHub();
    const child = await forkChild(hub);
    child.disconnect();
    hub.publish('there.x', 1);
    await assert.rejects(hub.request('there.echo', 1), NoResponder);
    await hub.close();
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
