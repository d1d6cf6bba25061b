import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import type { TailEvent } from '../model/messages.ts';
import { createReader, MAX_BUFFERED_BYTES } from './tail-reader.ts';

const event: TailEvent = {
  outcome: 'ok',
  scriptName: 'w',
  scriptVersion: { id: 'v1' },
  diagnosticsChannelEvents: [],
  exceptions: [],
  logs: [{ message: ['x'.repeat(100_000)], level: 'log', timestamp: 1 }],
  eventTimestamp: 1,
  event: null,
  truncated: false,
  executionModel: 'stateless',
};

describe('a reader that is too slow', () => {
  it('loses events, is told so, and gets later ones', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const sockets = new WebSocketServer({ server });
    const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
    const [[far]] = (await Promise.all([once(sockets, 'connection'), once(client, 'open')])) as [[WebSocket], unknown];
    const received: TailEvent[] = [];
    client.on('message', (data) => received.push(JSON.parse(String(data))));
    client.pause();

    const reader = createReader(far);
    for (let i = 0; i < 500; i++) {
      reader.send(event);
      if (i % 20 === 0) await new Promise((done) => setTimeout(done, 1));
    }
    assert.ok(far.bufferedAmount < MAX_BUFFERED_BYTES + 300_000);

    client.resume();
    while (far.bufferedAmount > 0) await new Promise((done) => setTimeout(done, 5));
    reader.send({ ...event, logs: [], eventTimestamp: 2 });
    while (received.at(-1)?.eventTimestamp !== 2) await once(client, 'message');
    const kinds = received.flatMap(({ event }) => (event?.type ? [event] : []));
    assert.deepEqual(
      kinds.map(({ type }) => type),
      ['overload', 'overload-stop'],
    );
    const whole = received.filter(({ logs }) => logs.length > 0).length;
    assert.match(String(kinds[1]?.message), new RegExp(`; ${500 - whole} were dropped`));
    reader.close(1000);
    assert.equal((await once(client, 'close'))[0], 1000);
    sockets.close();
    server.close();
  });
});
