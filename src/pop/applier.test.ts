import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Script, Version } from '../model/documents.ts';
import { keys } from '../model/keys.ts';
import type { EdgeChange } from '../model/messages.ts';
import { Applier } from './applier.ts';
import type { Fleet } from './fleet.ts';
import { Follower } from './follower.ts';
import { Scheduler } from './scheduler.ts';

const version = (id: string) =>
  ({
    id,
    accountId: 'a',
    script: 's',
    modules: [{}],
    entrypoints: [],
    bindings: [],
    handlers: [],
  }) as unknown as Version;
const script = (versionId: string, cron?: string) =>
  ({
    accountId: 'a',
    name: 's',
    schedules: cron ? [{ cron }] : [],
    deployment: { versions: [{ versionId, percentage: 100 }] },
  }) as unknown as Script;

/** `ensure`: what the fleet does to start a version. */
function open(ensure: (version: Version) => Promise<void> = async () => undefined) {
  const follower = new Follower();
  const started: string[] = [];
  const retired: string[] = [];
  const fleet = {
    ensure: async (version: Version) => {
      started.push(version.id);
      await ensure(version);
    },
    retire: (id: string) => void retired.push(id),
  } as unknown as Fleet;
  const told: EdgeChange[] = [];
  const scheduler = new Scheduler(async () => undefined);
  const applier = new Applier(follower, fleet, scheduler, (changes) => void told.push(...changes));
  let sequence = 0;
  const write = (key: string, value: unknown) => applier.apply([{ key, value, sequence: ++sequence }] as never);
  const put = (v: Version) => write(keys.versions('a', 's') + v.id, v);
  const deploy = (s: Script) => write(keys.script('a', 's'), s);
  return {
    applier,
    follower,
    started,
    retired,
    told,
    scheduler,
    put,
    deploy,
    applied: () => applier.applied(sequence),
  };
}

it('a version that is replaced while the machine starts is not started after that', async () => {
  let go: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    go = resolve;
  });
  const { applier, follower, started, put, deploy, applied } = open(async ({ id }) => {
    if (id === 'other') await gate;
  });
  for (const id of ['v1', 'v2']) put(version(id));
  const other = { ...version('other'), script: 'o' };
  follower.versions.set('other', other);
  follower.scripts.set(keys.script('a', 'o'), { ...script('other'), name: 'o' });
  follower.scripts.set(keys.script('a', 's'), script('v1'));
  const warming = applier.warm(1);
  deploy(script('v2'));
  await applied();
  go();
  await warming;
  assert.deepEqual(started, ['other', 'v2']);
});

it('a schedule that cannot be understood does not keep the deploy, nor the next one, from being told', async () => {
  const { told, put, deploy, applied, retired, scheduler } = open();
  for (const id of ['v1', 'v2']) put(version(id));
  deploy(script('v1', 'no cron'));
  await applied();
  deploy(script('v2', 'no cron'));
  await applied();
  assert.equal(told.filter(({ key }) => key === keys.script('a', 's')).length, 2);
  assert.deepEqual(retired, ['v1']);
  scheduler.close();
});

it('a deploy does not wait for the version of another script that takes long to start', async () => {
  const never = new Promise<void>(() => undefined);
  const { applier, put, deploy, applied, told } = open(async ({ id }) => {
    if (id === 'slow') await never;
  });
  put({ ...version('slow'), script: 'o' });
  put(version('v1'));
  applier.apply([
    { key: keys.script('b', 'o'), value: { ...script('slow'), accountId: 'b', name: 'o' }, sequence: 100 },
  ] as never);
  deploy(script('v1'));
  await applied();
  assert.ok(told.some(({ key }) => key === keys.script('a', 's')));
});
