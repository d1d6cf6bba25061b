/** One process at a time has the objects of a Worker, whatever happens at the same time. Processes are stand-ins here. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ObjectNamespace, WorkerObjects } from '../model/documents.ts';
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
const objects = (storage: string, ...namespaces: ObjectNamespace[]): WorkerObjects => ({ storage, namespaces });
const namespace = (id: string, storage?: string): ObjectNamespace => ({
  id,
  className: 'C',
  sqlite: true,
  ...(storage && { storage }),
});
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
  const all = await Promise.all(Array.from({ length: 8 }, () => owners.take(objects('s'), start)));
  assert.equal(most, 1);
  assert.deepEqual(
    all.map(({ ended }) => ended),
    [...Array(7).fill(true), false],
  );
});

it('other storages do not wait', async () => {
  const owners = new Owners(() => new Promise(() => undefined));
  await owners.take(objects('a'), async () => isolate());
  void owners.take(objects('a'), async () => isolate());
  await owners.take(objects('b'), async () => isolate());
});

it('one that died is not waited for, nor one that did not start', async () => {
  const released: Isolate[] = [];
  const owners = new Owners(async (owner) => void released.push(owner));
  const first = await owners.take(objects('s'), async () => isolate());
  end(first);
  await assert.rejects(
    owners.take(objects('s'), async () => {
      throw new Error('does not start');
    }),
    /does not start/,
  );
  await owners.take(objects('s'), async () => isolate());
  assert.deepEqual(released, []);
});

it('what is done while nobody has the storage waits for its process to end, and keeps the next one waiting', async () => {
  const events: string[] = [];
  const owners = new Owners(async (owner) => {
    await sleep(2);
    events.push('ended');
    end(owner);
  });
  await owners.take(objects('s'), async () => isolate());
  const work = owners.vacate('s', async () => {
    await sleep(5);
    events.push('done');
  });
  await owners.take(objects('s'), async () => {
    events.push('started');
    return isolate();
  });
  await work;
  assert.deepEqual(events, ['ended', 'done', 'started']);
});

it('a Worker that got a namespace from another one waits for that one’s process only, however many change hands at once', async () => {
  const events: string[] = [];
  const names = new Map<Isolate, string>();
  const owners = new Owners(async (owner) => {
    await sleep(2);
    if (!owner.ended) events.push(`${names.get(owner)} ended`);
    end(owner);
  });
  const take = (name: string, what: WorkerObjects) =>
    owners.take(what, async () => {
      const one = isolate();
      names.set(one, name);
      events.push(`${name} started`);
      return one;
    });
  await Promise.all([take('a', objects('a', namespace('1'), namespace('2'))), take('b', objects('b', namespace('3')))]);
  await take('c', objects('c'));
  events.length = 0;
  // Each gives the other one at the same time.
  await Promise.all([
    take('a2', objects('a', namespace('2'), namespace('3', 'b'))),
    take('b2', objects('b', namespace('1', 'a'))),
  ]);
  assert.deepEqual(events.slice(0, 2).sort(), ['a ended', 'b ended']);
  assert.deepEqual(events.slice(2).sort(), ['a2 started', 'b2 started']);
});

it('one whose objects went to another meanwhile does not start, and who has them keeps them', async () => {
  const owners = new Owners(() => assert.fail('nobody is to end'));
  await owners.take(objects('b', namespace('1', 'a')), async () => isolate());
  await assert.rejects(
    owners.take(
      objects('a', namespace('1')),
      () => assert.fail('it is not to start'),
      () => {
        throw new Error('replaced');
      },
    ),
    /replaced/,
  );
});
