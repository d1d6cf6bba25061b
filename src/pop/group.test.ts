/** The races of starts, ends and tails: with a host whose starts end when the test says so. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { it } from 'node:test';
import type { Version } from '../model/documents.ts';
import { Group } from './group.ts';
import type { Isolate, IsolateSpec } from './isolates/host.ts';
import { Retirement } from './retirement.ts';

class FakeIsolate extends EventEmitter {
  readonly ref: { id: string };
  readonly tailed: boolean;
  ended = false;
  killed = false;
  constructor(id: string, tailed: boolean) {
    super();
    this.ref = { id };
    this.tailed = tailed;
  }
  kill(): void {
    this.killed = true;
    this.end();
  }
  end(): void {
    this.ended = true;
    this.emit('exit', 'exception');
  }
}

function open() {
  const starts: { spec: IsolateSpec; end(failure?: Error): FakeIsolate }[] = [];
  const startOne = (spec: IsolateSpec) =>
    new Promise<Isolate>((resolve, reject) => {
      const end = (failure?: Error) => {
        const isolate = new FakeIsolate(`i${starts.length}`, spec.tailed);
        if (failure) reject(failure);
        else resolve(isolate as unknown as Isolate);
        return isolate;
      };
      starts.push({ spec, end });
    });
  const retired: Isolate[] = [];
  const sets: number[] = [];
  const deaths: number[] = [];
  const group = new Group({ id: 'v1', entrypoints: [] } as unknown as Version, {
    start: startOne,
    changed: (set) => sets.push(set.isolates.length),
    retire: (isolate) => void retired.push(isolate),
    died: () => deaths.push(1),
  });
  const start = async (index: number, failure?: Error) => {
    await turn();
    const isolate = starts[index]!.end(failure);
    await turn();
    return isolate as unknown as Isolate & FakeIsolate;
  };
  return { group, starts, retired, sets, deaths, start };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

it('a process whose version was replaced while it started ends at once: nobody would release it', async () => {
  const { group, start, retired } = open();
  const starting = assert.rejects(group.ensure(), /replaced/);
  group.close();
  const isolate = await start(0);
  await starting;
  assert.ok(isolate.killed);
  assert.deepEqual(retired, []);
});

it('a tail that ends while its processes start leaves none that is traced', async () => {
  const { group, start, starts } = open();
  const ensured = group.ensure();
  await start(0);
  await ensured;
  const tracing = Promise.all([group.trace(true), group.trace(false)]);
  for (let i = 1; i < 4; i++) {
    await turn();
    if (starts[i]) await start(i);
  }
  await tracing;
  assert.deepEqual(
    group.live.map((isolate) => isolate.tailed),
    [false],
  );
});

it('a tail that could not begin is tried again', async () => {
  const { group, start, starts } = open();
  const ensured = group.ensure();
  await start(0);
  await ensured;
  const failing = assert.rejects(group.trace(true), /no memory/);
  await start(1, new Error('no memory'));
  await failing;
  assert.equal(group.live.length, 1);
  const tracing = group.trace(true);
  await turn();
  assert.equal(starts.length, 3);
  await start(2);
  await tracing;
  assert.deepEqual(
    group.live.map((isolate) => isolate.tailed),
    [true],
  );
});

it('a deploy during a tail switch is no failure of the tail, and retires each process once', async () => {
  const { group, start, retired } = open();
  const ensured = group.ensure();
  const first = await start(0);
  await ensured;
  const tracing = group.trace(true);
  await turn();
  group.close();
  const traced = await start(1);
  await tracing;
  assert.deepEqual(retired, [first]);
  assert.ok(traced.killed);
});

it('a process that dies during a tail switch is not retired', async () => {
  const { group, start, retired } = open();
  const ensured = group.ensure();
  const first = await start(0);
  await ensured;
  const tracing = group.trace(true);
  await turn();
  first.end();
  await start(1);
  await tracing;
  assert.deepEqual(retired, []);
});

it('a version that does not start is not started without end: after ten failures it pauses', async () => {
  const { group, start, starts } = open();
  for (let i = 0; i < 11; i++) {
    const failing = assert.rejects(group.ensure(), /broken/);
    await start(i, new Error('broken'));
    await failing;
  }
  const paused = assert.rejects(group.ensure(), /replaced/);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(starts.length, 11);
  group.close();
  await paused;
  assert.equal(starts.length, 11);
});

it('what has ended already does not stay among those that leave', () => {
  const retirement = new Retirement();
  const isolate = new FakeIsolate('i0', false);
  isolate.end();
  retirement.add(isolate as unknown as Isolate, ['edge-0']);
  assert.deepEqual(retirement.isolates(), []);
});

it('many who wait for the first process wait for one start', async () => {
  const { group, start, starts } = open();
  const all = [group.ensure(), group.ensure()];
  assert.equal(starts.length, 1);
  await start(0);
  await Promise.all(all);
  assert.equal(group.live.length, 1);
});

it('a process that is killed is left at once, and its end is counted once', async () => {
  const { group, start, sets, deaths } = open();
  const started = group.ensure();
  const isolate = await start(0);
  await started;
  isolate.emit('killed');
  assert.deepEqual([sets.at(-1), deaths.length], [0, 1]);
  isolate.end();
  assert.equal(deaths.length, 1);
});
