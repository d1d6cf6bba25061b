/** The courier of a queue: how often it tries what does not work, and what it holds while a Worker thinks. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { after, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createHub } from '../../state/local-bus.ts';
import { Courier } from './courier.ts';
import { openQueues } from './open.ts';
import { type Consumer, DEFAULT_SETTINGS, newQueueId } from './queues.ts';

const directory = mkdtempSync(join(tmpdir(), 'sc-'));
const hub = createHub();
const queues = await openQueues(directory);
after(async () => {
  await queues.close();
  await hub.close();
  rmSync(directory, { recursive: true });
});

const consumer: Consumer = {
  type: 'worker',
  id: newQueueId(),
  createdOn: '',
  script: 'w',
  batchSize: 100,
  maxRetries: 3,
  retryDelay: 0,
  deadLetterQueue: null,
  maxWaitMs: 0,
  maxConcurrency: null,
};

async function queueWith(messages: Buffer[]): Promise<Courier> {
  const id = newQueueId();
  const document = { createdOn: '', modifiedOn: '', settings: DEFAULT_SETTINGS, consumer };
  await queues.messages.create({ id, accountId: 'a', name: id, document });
  const queue = queues.messages.byId(id)!;
  await queues.send(
    queue,
    messages.map((body) => ({ body, format: 'bytes' as const })),
  );
  const options = { bus: hub, queues, name: 'data', isStuffed: () => false, onUnsent() {}, notice() {} };
  return new Courier(options, id);
}

it('a Worker that does not start is tried less and less often, however many messages come', async () => {
  let tried = 0;
  hub.respond('local.hold', async () => {
    tried++;
    throw new Error('it does not start');
  });
  const courier = await queueWith([Buffer.from('x')]);
  for (let i = 0; i < 64; i++) {
    courier.look();
    await setTimeout(50);
  }
  await courier.close();
  // At 0, 0.5 and 1.5 s.
  assert.ok(tried >= 2 && tried <= 4, `${tried} times in 3.2 s`);
});

it('a batch that a Worker has is not kept in memory until it is done with it', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const answers: (() => void)[] = [];
  const worker = createServer(async (request, response) => {
    await buffer(request);
    const result = { outcome: 'ok', ackAll: false, retryBatch: { retry: false }, explicitAcks: [], retryMessages: [] };
    answers.push(() => response.end(JSON.stringify(result)));
  }).listen(join(directory, 'w.sock'));
  hub.respond('local.hold', async () => ({ hold: 'h', isolate: 'i', socket: join(directory, 'w.sock') }));
  const held = () => {
    collect();
    const { arrayBuffers } = process.memoryUsage();
    return arrayBuffers;
  };
  const couriers: Courier[] = [];
  for (let i = 0; i < 10; i++) {
    couriers.push(await queueWith(Array.from({ length: 30 }, () => Buffer.alloc(100_000, 'x'))));
  }
  const before = held();
  for (const courier of couriers) courier.look();
  while (answers.length < couriers.length) await setTimeout(20);
  // Memory is given back when the collector comes to it.
  let kept = held() - before;
  for (let i = 0; i < 50 && kept >= 10_000_000; i++) {
    await setTimeout(100);
    kept = held() - before;
  }
  for (const answer of answers) answer();
  for (const courier of couriers) await courier.close();
  worker.close();
  assert.ok(kept < 10_000_000, `${kept} bytes of 30,000,000 that were sent`);
});
