import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, it } from 'node:test';
import type { WebSocket } from 'ws';
import { browse } from '../../test/browser.ts';
import { eventually, startEdge } from '../../test/harness.ts';

const CLIENTS = 100;
const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });
const host = edge.host('chat-rooms');

interface Message {
  id: number;
  name: string;
  text: string;
}

async function enter(room: string, name: string): Promise<{ socket: WebSocket; heard: Message[]; history: Message[] }> {
  const socket = await edge.websocket(host, `/rooms/${room}/socket?name=${name}`);
  const heard: Message[] = [];
  const history: Message[] = [];
  socket.on('message', (data) => {
    const { message, history: before } = JSON.parse(String(data));
    if (message) heard.push(message);
    else history.push(...before);
  });
  return { socket, heard, history };
}

it('every message of 100 clients reaches all of them, in one order', async () => {
  const members = await Promise.all(Array.from({ length: CLIENTS }, (_, i) => enter('full', `m${i}`)));
  for (let round = 0; round < 3; round++) {
    for (const [i, { socket }] of members.entries()) socket.send(`${round}/${i}`);
  }
  await eventually(() => members.every(({ heard }) => heard.length === 3 * CLIENTS), 30_000);
  const [first, ...others] = members.map(({ heard }) => heard.map(({ name, text }) => `${name} ${text}`));
  for (const order of others) assert.deepEqual(order, first);
  assert.equal(new Set(first).size, 3 * CLIENTS);
  // What one member said stays in its order.
  assert.deepEqual(
    first!.filter((line) => line.startsWith('m7 ')),
    ['m7 0/7', 'm7 1/7', 'm7 2/7'],
  );
  for (const { socket } of members) socket.terminate();
});

it('a newcomer sees what was said last', async () => {
  const ada = await enter('quiet', 'ada');
  for (let i = 0; i < 15; i++) ada.socket.send(`line ${i}`);
  await eventually(() => ada.heard.length === 15);
  const bob = await enter('quiet', 'bob');
  await eventually(() => bob.history.length === 15);
  assert.equal(bob.history.at(-1)!.text, 'line 14');
  const other = await enter('another', 'eve');
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.deepEqual(other.history, []);
  for (const { socket } of [ada, bob, other]) socket.terminate();
});

it('a flood is cut, and the room goes on', async () => {
  const [ada, eve] = [await enter('busy', 'ada'), await enter('busy', 'eve')];
  const closed = once(eve.socket, 'close');
  for (let i = 0; i < 100; i++) eve.socket.send('spam');
  assert.equal((await closed)[0], 1008);
  ada.socket.send('still here');
  await eventually(() => ada.heard.some(({ text }) => text === 'still here'));
  ada.socket.terminate();
});

it('people talk in a browser', async (t) => {
  const bob = await enter('lobby', 'bob');
  await browse(t, `http://${host}:${edge.http}/rooms/lobby?name=ada`, async (page) => {
    await page.fill('input', '<b>hello</b>');
    await page.click('button');
    await page.waitForSelector('li');
    assert.equal(await page.textContent('li'), 'ada: <b>hello</b>');
    await eventually(() => bob.heard.some(({ name, text }) => name === 'ada' && text === '<b>hello</b>'));
    bob.socket.send('hi ada');
    await page.waitForSelector('li:nth-child(2)');
    assert.equal(await page.textContent('li:nth-child(2)'), 'bob: hi ada');
  });
  bob.socket.terminate();
});
