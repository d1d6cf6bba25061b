/** One process at a time has the objects of a Worker, whatever happens at the same time. Processes are stand-ins here. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Isolate } from './isolates/host.ts';
import { Owners } from './owners.ts';

class Fake extends EventEmitter {
  ended = false;
  end(): void {
    this.ended = true;
    this.emit('exit');
  }
}
const isolate = () => new Fake() as unknown as Isolate;
const end = (one: Isolate) => (one as unknown as Fake).end();

it('a start waits for the end of the one before, and many starts take turns', async () => {
  const running = new Set<Isolate>();
  let most = 0;
  const owners = new Owners(async (owner) => {
    await sleep(5);
    running.delete(owner);
    end(owner);
  });
  const start = async () => {
    const one = isolate();
    running.add(one);
    most = Math.max(most, running.size);
    await sleep(2);
    return one;
  };
  const all = await Promise.all(Array.from({ length: 8 }, () => owners.take('s', start)));
  assert.equal(most, 1);
  assert.deepEqual(
    all.map(({ ended }) => ended),
    [...Array(7).fill(true), false],
  );
});

it('other storages do not wait', async () => {
  const owners = new Owners(() => new Promise(() => undefined));
  await owners.take('a', async () => isolate());
  void owners.take('a', async () => isolate());
  await owners.take('b', async () => isolate());
});

it('one that died is not waited for, nor one that did not start', async () => {
  const released: Isolate[] = [];
  const owners = new Owners(async (owner) => void released.push(owner));
  const first = await owners.take('s', async () => isolate());
  end(first);
  await assert.rejects(
    owners.take('s', async () => {
      throw new Error('does not start');
    }),
    /does not start/,
  );
  await owners.take('s', async () => isolate());
  assert.deepEqual(released, []);
});

it('what is done while nobody has the storage waits for its process to end, and keeps the next one waiting', async () => {
  const events: string[] = [];
  const owners = new Owners(async (owner) => {
    await sleep(2);
    events.push('ended');
    end(owner);
  });
  await owners.take('s', async () => isolate());
  const work = owners.vacate('s', async () => {
    await sleep(5);
    events.push('done');
  });
  await owners.take('s', async () => {
    events.push('started');
    return isolate();
  });
  await work;
  assert.deepEqual(events, ['ended', 'done', 'started']);
});
