import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { TailEvent } from '../model/messages.ts';
import { type OpenSocket, openSocket } from './sockets.ts';
import { createTailSink, MAX_LOG_BYTES, toTailEvent } from './tail-sink.ts';

const source = { script: 'w', versionId: 'v1' };

describe('the sink of trace items', () => {
  let dir: string;
  let socket: OpenSocket;
  let path: string;
  const events: TailEvent[] = [];

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'selvedge-sink-'));
    path = join(dir, 'tail.sock');
    socket = await openSocket(
      createTailSink(source, (event) => events.push(event)),
      path,
      10,
    );
  });
  after(async () => {
    await socket.close();
    await rm(dir, { recursive: true });
  });

  async function post(body: string | Buffer): Promise<number | undefined> {
    events.length = 0;
    const req = request({ socketPath: path, method: 'POST', agent: false }).end(body);
    const [res] = (await once(req, 'response')) as [IncomingMessage];
    res.resume();
    return res.statusCode;
  }

  it('publishes every item of the array', async () => {
    assert.equal(await post(JSON.stringify([{ outcome: 'ok' }, { outcome: 'exception' }, 'noise', null])), 204);
    assert.deepEqual(
      events.map(({ outcome }) => outcome),
      ['ok', 'exception'],
    );
  });
  it('refuses what is not JSON and what is too large', async () => {
    assert.equal(await post('{'), 400);
    assert.equal(await post(Buffer.alloc(4 * 1024 * 1024 + 1, ' ')), 413);
    assert.deepEqual(events, []);
  });
});

describe('a trace item', () => {
  const request = { url: 'http://x.example/', method: 'GET', headers: { accept: 'x', 'selvedge-cf': '{}' }, cf: {} };
  const item = {
    outcome: 'exception',
    entrypoint: 'Other',
    exceptions: [{ name: 'Error', message: 'boom', stack: 'at w.js', timestamp: 3 }],
    logs: [{ message: ['hello', { a: 1 }], level: 'warn', timestamp: 2 }],
    eventTimestamp: 1,
    event: { request, response: { status: 500 } },
    truncated: false,
    executionModel: 'stateless',
  };

  it('becomes an event with the script and version of its socket, and without internal headers', () => {
    assert.deepEqual(toTailEvent({ ...item, scriptName: 'forged' }, source), {
      ...item,
      scriptName: 'w',
      scriptVersion: { id: 'v1' },
      diagnosticsChannelEvents: [],
      event: { request: { ...request, headers: { accept: 'x' } }, response: { status: 500 } },
    });
  });
  it('keeps the first 128 KB of logs and says that more were cut', () => {
    const logs = Array.from({ length: 200 }, () => ({ message: ['x'.repeat(1000)], level: 'log', timestamp: 1 }));
    const event = toTailEvent({ ...item, logs }, source)!;
    assert.equal(event.truncated, true);
    assert.ok(event.logs.length > 100 && JSON.stringify(event.logs).length < MAX_LOG_BYTES + 10_000);
  });
  it('is bounded in its other parts too', () => {
    const long = 'x'.repeat(1_000_000);
    const event = toTailEvent(
      {
        outcome: long,
        exceptions: Array(500).fill({ name: long, message: long, stack: long }),
        event: { request: { ...request, url: long } },
        diagnosticsChannelEvents: [long],
      },
      source,
    )!;
    assert.ok(JSON.stringify(event).length < 4 * 1024 * 1024);
    assert.equal(event.event, null);
    assert.equal(event.truncated, true);
  });
  it('with parts missing or of the wrong type is still an event', () => {
    const event = toTailEvent({ logs: 'no', exceptions: [1], event: 7, outcome: {} }, source)!;
    assert.deepEqual([event.outcome, event.logs, event.exceptions, event.event], ['unknown', [], [], null]);
  });
});
