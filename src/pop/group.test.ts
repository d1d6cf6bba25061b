/** The processes of one version when things happen at the same time. The host is a stand-in: real ones do not lose these races on demand. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { Version } from '../model/documents.ts';
import { Group } from './group.ts';
import type { Isolate, IsolateSpec } from './isolates/host.ts';

interface Start {
  spec: IsolateSpec;
  ready: () => Isolate;
  fail: () => void;
}

function setUp() {
  const starts: Start[] = [];
  const retired: Isolate[] = [];
  const sets: string[][] = [];
  let died = 0;
  const start = (spec: IsolateSpec) =>
    new Promise<Isolate>((resolve, reject) => {
      const id = `i${starts.length}`;
      starts.push({
        spec,
        ready: () => {
          const isolate = Object.assign(new EventEmitter(), { ref: { id }, tailed: spec.tailed }) as unknown as Isolate;
          resolve(isolate);
          return isolate;
        },
        fail: () => reject(new Error('no memory')),
      });
    });
  const group = new Group({ id: 'v', entrypoints: [] } as unknown as Version, {
    start,
    changed: (set) => sets.push(set.isolates.map(({ id }) => id)),
    retire: (isolate) => retired.push(isolate),
    died: () => died++,
  });
  return { group, starts, retired, sets, died: () => died };
}

it('many who wait for the first process wait for one start; a failed one may be tried again', async () => {
  const { group, starts } = setUp();
  const all = [group.ensure(), group.ensure()];
  assert.equal(starts.length, 1);
  starts[0]!.fail();
  for (const one of all) await assert.rejects(one, /no memory/);
  const again = group.ensure();
  starts[1]!.ready();
  await again;
  assert.equal(group.live.length, 1);
});

it('a process that is killed is left at once, and its end is counted once', async () => {
  const { group, starts, sets, died } = setUp();
  const started = group.ensure();
  const isolate = starts[0]!.ready();
  await started;
  isolate.emit('killed');
  assert.deepEqual([sets.at(-1), died()], [[], 1]);
  isolate.emit('exit', 'exceededCpu');
  assert.equal(died(), 1);
});

it('a version that is retired while it starts leaves no process behind', async () => {
  const { group, starts, retired } = setUp();
  const started = group.ensure();
  group.close();
  const isolate = starts[0]!.ready();
  await assert.rejects(started, /replaced/);
  assert.deepEqual([retired, group.live], [[isolate], []]);
});

it('tracing that is turned on and off at once ends untraced, whichever process is first', async () => {
  for (const order of [
    [1, 2],
    [2, 1],
  ]) {
    const { group, starts } = setUp();
    const started = group.ensure();
    starts[0]!.ready();
    await started;
    const both = [group.trace(true), group.trace(false)];
    await turn();
    for (const index of order) {
      starts[index]!.ready();
      await both[index - 1];
    }
    assert.ok(group.live.length > 0 && group.live.every(({ tailed }) => !tailed));
    assert.equal(group.tailed, false);
  }
});

it('tracing that could not start is tried again by the next call', async () => {
  const { group, starts } = setUp();
  const started = group.ensure();
  starts[0]!.ready();
  await started;
  const traced = group.trace(true);
  await turn();
  starts[1]!.fail();
  await assert.rejects(traced);
  const again = group.trace(true);
  await turn();
  assert.equal(starts.length, 3);
  starts[2]!.ready();
  await again;
  assert.deepEqual([group.live.length, group.live[0]!.tailed], [1, true]);
});
