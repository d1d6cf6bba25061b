/** Queues with real Workers: what is sent comes as it was, in batches, again if it failed, and to the dead letters if it failed too often. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { eventually } from './harness.ts';
import { flat, openQueueBench, WORKER } from './queues-bench.ts';

const bench = await openQueueBench();
const { edge, create, deploy, call, until, seen, backlog } = bench;
after(() => edge.close());

describe('a message', () => {
  it('comes as it was sent, whatever its content type', async () => {
    await create('types');
    const host = await deploy('types', 'types', { max_batch_timeout: 0 });
    const bodies: [unknown, string | undefined][] = [
      [{ a: [1, 'ü', null] }, undefined],
      [null, 'json'],
      ['\ufeffgrüße', 'text'],
      ['', 'text'],
      [{ $bytes: [0, 255, 10] }, 'bytes'],
      [{ $date: 1234567890123 }, 'v8'],
      [{ $map: [['k', { deep: [true] }]] }, 'v8'],
      ['x'.repeat(127_990), 'text'],
    ];
    const before = Date.now();
    for (const [body, contentType] of bodies) {
      const { ok } = await call(host, 'send', [body, contentType ? { contentType } : undefined]);
      assert.ok(ok.metadata.metrics.backlogCount >= 0);
    }
    const messages = flat(await until(host, (batches) => flat(batches).length === bodies.length));
    for (const [body] of bodies) {
      const found = messages.find((message) => JSON.stringify(message.body) === JSON.stringify(body));
      assert.ok(found, `${JSON.stringify(body).slice(0, 60)} came`);
      assert.match(found.id, /^[0-9a-f]{32}$/);
      assert.equal(found.attempts, 1);
      assert.ok(found.sent >= before && found.sent <= Date.now());
    }
    await eventually(async () => (await backlog('types')).backlog_count === 0);
  });

  it('comes as it was when the Worker is so old that its messages have no type', async () => {
    await create('old');
    const host = await deploy('old', 'old', { max_batch_timeout: 0 }, { config: { compatibility_date: '2023-01-01' } });
    await call(host, 'send', [{ $map: [['a', 1]] }]);
    await call(host, 'sendBatch', [[{ body: { $date: 5 } }]]);
    const messages = flat(await until(host, (batches) => flat(batches).length === 2));
    assert.deepEqual(
      new Set(messages.map(({ body }) => JSON.stringify(body))),
      new Set(['{"$map":[["a",1]]}', '{"$date":5}']),
    );
    const { error } = await call(host, 'send', ['x'.repeat(128_001)]);
    assert.match(error, /^Queue send failed: message length of 1280\d\d bytes exceeds limit of 128000$/);
  });

  it('waits for its delay: its own, that of its batch, that of the binding, that of the queue', async () => {
    const [id] = await create('later');
    await edge.api(`${bench.queues}/${id}`, { method: 'PATCH', body: { settings: { delivery_delay: 1 } } });
    const host = await deploy(
      'later',
      'later',
      { max_batch_timeout: 0, max_batch_size: 1 },
      {
        config: {
          queues: {
            producers: [
              { binding: 'QUEUE', queue: 'later' },
              { binding: 'SLOW', queue: 'later', delivery_delay: 2 },
            ],
            consumers: [{ queue: 'later', max_batch_timeout: 0, max_batch_size: 1 }],
          },
        },
      },
    );
    await call(host, 'sendBatch', [[{ body: 'own', delaySeconds: 0 }, { body: 'batch' }], { delaySeconds: 3 }]);
    await call(host, 'send', ['binding'], { binding: 'SLOW' });
    await call(host, 'send', ['queue']);
    const batches = await until(host, (all) => all.length === 4);
    assert.deepEqual(
      flat(batches).map(({ body }) => body),
      ['own', 'queue', 'binding', 'batch'],
    );
    const waited = batches.map(({ at, messages }) => at - messages[0]!.sent);
    for (const [index, least] of [0, 1000, 2000, 3000].entries()) assert.ok(waited[index]! >= least, String(waited));
  });

  for (const [what, method, args, error] of [
    [
      'that is too long',
      'send',
      ['x'.repeat(128_001), { contentType: 'text' }],
      'message length of 128001 bytes exceeds limit of 128000 (10204)',
    ],
    ['with a delay that is too long', 'send', ['x', { delaySeconds: 86_401 }], /delay of 86401.*\(10202\)$/],
    ['with a delay below zero', 'send', ['x', { delaySeconds: -1 }], /delay of -1.*\(10202\)$/],
    [
      'in a batch of too many',
      'sendBatch',
      [Array(101).fill({ body: 'x' })],
      'batch message count of 101 exceeds limit of 100 (10206)',
    ],
    [
      'in a batch that is too large',
      'sendBatch',
      [Array(3).fill({ body: 'x'.repeat(100_000), contentType: 'text' })],
      'batch size of 300000 bytes exceeds limit of 256000 (10205)',
    ],
    [
      'in a batch that is far too large',
      'sendBatch',
      [Array(100).fill({ body: 'x'.repeat(100_000), contentType: 'text' })],
      /exceeds limit of 256000 \(10205\)$/,
    ],
    [
      'in a batch with one that is too long',
      'sendBatch',
      [[{ body: 'y' }, { body: 'x'.repeat(128_001), contentType: 'text' }]],
      /128001 bytes.*\(10204\)$/,
    ],
    ['of an unknown type', 'send', ['x', { contentType: 'xml' }], /Unsupported queue message content type: xml/],
  ] as [string, string, unknown[], string | RegExp][]) {
    it(`${what} is refused, and nothing is stored`, async () => {
      if (!(await bench.find('limits'))) {
        await create('limits');
        await deploy('limits', 'limits', null);
      }
      const answer = await call(edge.host('limits'), method, args);
      if (typeof error === 'string') assert.equal(answer.error, error);
      else assert.match(answer.error, error);
      assert.equal((await backlog('limits')).backlog_count, 0);
    });
  }

  it('is counted by the producer’s metrics', async () => {
    await create('counted');
    const host = await deploy('counted', 'counted', null);
    const started = Date.now();
    await call(host, 'send', ['12345', { contentType: 'text' }]);
    const { ok } = await call(host, 'sendBatch', [[{ body: '123', contentType: 'text' }]]);
    const { metrics } = ok.metadata;
    assert.deepEqual([metrics.backlogCount, metrics.backlogBytes], [2, 8]);
    assert.ok(Date.parse(metrics.oldestMessageTimestamp) >= started);
    assert.equal((await call(host, 'metrics', [])).ok.backlogCount, 2);
  });
});

describe('batches', () => {
  it('come when they are full, or when their first message has waited', async () => {
    await create('batches');
    const host = await deploy('batches', 'batches', { max_batch_size: 5, max_batch_timeout: 2 });
    const start = Date.now();
    await call(host, 'sendBatch', [Array.from({ length: 7 }, (_, body) => ({ body }))]);
    const [first, second, ...others] = await until(host, (all) => flat(all).length === 7);
    assert.deepEqual([first!.messages.length, second!.messages.length, others.length], [5, 2, 0]);
    assert.ok(second!.at - start >= 2000, `${second!.at - start} ms`);
    assert.ok(first!.at < second!.at - 1000);
    assert.equal(first!.queue, 'batches');
    assert.equal(first!.backlog.backlogCount, 7);
  });

  it('run at once up to max_concurrency, and no more', async () => {
    await create('many');
    const settings = { max_batch_size: 1, max_batch_timeout: 0, max_concurrency: 3 };
    const host = await deploy('many', 'many', settings, {
      source: `let now = 0; let most = 0; const seen = [];
      export default {
        async fetch(request, env) {
          if (new URL(request.url).pathname === '/seen') return Response.json(seen);
          await env.QUEUE.sendBatch(Array.from({ length: 12 }, (_, body) => ({ body })));
          return Response.json({});
        },
        async queue({ messages: [{ body }] }) {
          most = Math.max(most, ++now);
          await new Promise((resolve) => setTimeout(resolve, 300));
          now--;
          seen.push({ messages: [{ body, most }] });
        },
      }`,
    });
    await edge.request(host);
    const messages = flat(await until(host, (all) => all.length === 12)) as any[];
    assert.equal(Math.max(...messages.map(({ most }) => most)), 3);
    assert.deepEqual(
      messages.map(({ body }) => body).sort((a, b) => a - b),
      [...Array(12).keys()],
    );
  });
});

describe('a message that fails', () => {
  it('comes again with its batch if queue() throws, after retry_delay', async () => {
    await create('throws');
    const host = await deploy('throws', 'throws', { max_batch_size: 2, max_batch_timeout: 1, retry_delay: 1 });
    await call(host, 'sendBatch', [[{ body: { act: 'throw', times: 1 } }, { body: 'with it' }]]);
    const batches = await until(host, (all) => all.length === 2);
    assert.deepEqual(
      batches.map(({ messages }) => messages.map(({ attempts }) => attempts)),
      [
        [1, 1],
        [2, 2],
      ],
    );
    assert.ok(batches[1]!.at - batches[0]!.at >= 1000);
    await eventually(async () => (await backlog('throws')).backlog_count === 0);
  });

  it('comes again alone if the others were acknowledged, or if it asked for that', async () => {
    await create('single');
    const host = await deploy('single', 'single', { max_batch_size: 4, max_batch_timeout: 1 });
    await call(host, 'sendBatch', [
      [
        { body: { act: 'ack' } },
        { body: { act: 'throw', times: 1 } },
        { body: { act: 'retry', times: 1, delaySeconds: 2 } },
        { body: { act: 'ack', n: 2 } },
      ],
    ]);
    const batches = await until(host, (all) => flat(all).length === 6);
    const again = flat(batches.slice(1)).map(({ body }) => body.act);
    assert.deepEqual(again, ['throw', 'retry']);
    assert.ok(batches.at(-1)!.at - batches[0]!.at >= 2000);
  });

  it('comes again with retryAll(), and not after ackAll()', async () => {
    await create('all');
    const host = await deploy('all', 'all', { max_batch_size: 2, max_batch_timeout: 0 });
    await call(host, 'sendBatch', [
      [{ body: { act: 'ack' } }, { body: { act: 'retryAll', times: 2, delaySeconds: 1 } }],
    ]);
    const batches = await until(host, (all) => all.length === 3);
    assert.deepEqual(
      batches.map(({ messages }) => messages.map(({ attempts }) => attempts)),
      [[1, 1], [2], [3]],
    );
    await call(host, 'sendBatch', [[{ body: { act: 'ackAll' } }, { body: { act: 'throw' } }]]);
    await eventually(async () => (await backlog('all')).backlog_count === 0);
    assert.equal((await seen(host)).length, 4);
  });

  it('goes to the dead letter queue after max_retries, with what it was, and its consumer gets it', async () => {
    await create('failing');
    const host = await deploy('failing', 'failing', {
      max_batch_size: 1,
      max_batch_timeout: 0,
      max_retries: 2,
      dead_letter_queue: 'letters',
    });
    const undertaker = await deploy('undertaker', 'letters', { max_batch_timeout: 0 });
    await call(host, 'send', [{ act: 'throw' }]);
    const batches = await until(host, (all) => all.length === 3);
    assert.deepEqual(
      flat(batches).map(({ attempts }) => attempts),
      [1, 2, 3],
    );
    const [letter] = flat(await until(undertaker, (all) => all.length > 0));
    assert.deepEqual([letter!.body, letter!.id, letter!.attempts], [{ act: 'throw' }, flat(batches)[0]!.id, 1]);
    assert.equal((await backlog('failing')).backlog_count, 0);
    assert.equal((await seen(host)).length, 3);
  });

  it('is gone after max_retries if there is no dead letter queue, and the log says so', async () => {
    await create('hopeless');
    const host = await deploy('hopeless', 'hopeless', { max_batch_timeout: 0, max_retries: 0 });
    await call(host, 'send', [{ act: 'throw' }]);
    await until(host, (all) => all.length === 1);
    await eventually(async () => (await backlog('hopeless')).backlog_count === 0);
    assert.match(edge.output(), /messages failed too often and are gone/);
  });
});

it('a Worker without queue() gets no messages, and none is lost: the next version gets them', async () => {
  await create('patient');
  const host = await deploy('patient', 'patient', { max_batch_timeout: 0 });
  const project = await edge.project(
    {
      name: 'patient',
      main: 'index.js',
      compatibility_date: '2026-11-01',
      queues: { producers: [{ binding: 'QUEUE', queue: 'patient' }] },
    },
    { 'index.js': WORKER.replace('async queue(', 'async other(') },
  );
  await edge.deployed(['deploy'], { cwd: project });
  await call(host, 'send', ['kept']);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  assert.equal((await backlog('patient')).backlog_count, 1);
  await deploy('patient', 'patient', { max_batch_timeout: 0 });
  const [message] = flat(await until(host, (all) => all.length === 1));
  assert.deepEqual([message!.body, message!.attempts], ['kept', 1]);
});
