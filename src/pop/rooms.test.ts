import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Attach } from '../model/messages.ts';
import { createHub } from '../state/local-bus.ts';
import { Rooms } from './rooms.ts';

const attach = { isolate: 'i1', dir: '/nowhere' } as Attach;

it('an isolate that starts while the data process is replaced waits for the next one', async () => {
  const hub = createHub();
  const rooms = new Rooms(hub);
  const attached = rooms.attach(attach);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const opened: string[] = [];
  hub.respond('local.attach', ({ isolate }: Attach) => void opened.push(isolate));
  await attached;
  assert.deepEqual(opened, ['i1']);
  await rooms.attachAgain();
  assert.deepEqual(opened, ['i1', 'i1']);
  await hub.close();
});

it('what the data process refuses is told at once, and an isolate that ended meanwhile waits no longer', async () => {
  const hub = createHub();
  const rooms = new Rooms(hub);
  const attaching = assert.rejects(rooms.attach(attach), /nobody responds/);
  await rooms.detach('i1');
  await attaching;
  hub.respond('local.attach', () => {
    throw new Error('no such directory');
  });
  await assert.rejects(rooms.attach(attach), /no such directory/);
  await hub.close();
});
