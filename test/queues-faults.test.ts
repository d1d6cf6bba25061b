/** What was acknowledged to a producer is delivered, whatever dies meanwhile: the process that has the messages, the consumer, the machine. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { eventually, startEdge } from './harness.ts';
import { flat, openQueueBench } from './queues-bench.ts';

const bench = await openQueueBench();
const { edge, create, deploy, call, until, backlog } = bench;
after(() => edge.close());

/** Writes down in KV what it gets, where it outlives its process. */
const RECORDER = `export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === '/got') {
      const names = [];
      for (let cursor; ; ) {
        const page = await env.KV.list({ cursor });
        names.push(...page.keys.map(({ name }) => name));
        if (page.list_complete) return Response.json(names);
        cursor = page.cursor;
      }
    }
    const { body } = await request.json();
    await env.QUEUE.send(body);
    return Response.json({});
  },
  async queue({ messages }, env) {
    await Promise.all(messages.map(({ body }) => env.KV.put(body, 'x')));
  },
};`;

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('under load no message that was acknowledged is lost', () => {
  async function underLoad(name: string, harm: () => Promise<void>): Promise<void> {
    await create(name);
    const settings = { max_batch_size: 10, max_batch_timeout: 1, max_retries: 20 };
    const config = { kv_namespaces: [{ binding: 'KV' }] };
    const host = await deploy(name, name, settings, { source: RECORDER, config });
    const acknowledged: string[] = [];
    let stop = false;
    const sending = Array.from({ length: 6 }, async (_, sender) => {
      for (let n = 0; !stop; n++) {
        const body = `${sender}/${n}`;
        const sent = { method: 'POST', body: JSON.stringify({ body }) };
        const answer = await edge.request(host, '/', sent).catch(() => null);
        if (answer?.status === 200) acknowledged.push(body);
        else await sleep(20);
      }
    });
    try {
      for (let i = 1; i <= 3; i++) {
        await eventually(() => acknowledged.length >= i * 40, 30_000);
        await harm();
      }
      await eventually(() => acknowledged.length >= 160, 30_000);
    } finally {
      stop = true;
      await Promise.all(sending);
    }
    await eventually(async () => (await backlog(name)).backlog_count === 0, 30_000);
    const got = new Set((await edge.request(host, '/got')).json() as string[]);
    assert.deepEqual(
      acknowledged.filter((body) => !got.has(body)),
      [],
    );
  }

  it('when the data process is killed', () =>
    underLoad('data-dies', async () => {
      process.kill(await bench.dataProcess(), 'SIGKILL');
    }));

  it('when the consumer is killed', () =>
    underLoad('consumer-dies', async () => {
      for (const pid of await bench.processesOf('consumer-dies')) process.kill(pid, 'SIGKILL');
    }));

  it('when the consumer is deployed again', async () => {
    await underLoad('redeployed', async () => {
      const settings = { max_batch_size: 10, max_batch_timeout: 1, max_retries: 20 };
      await deploy('redeployed', 'redeployed', settings, {
        source: RECORDER,
        config: { kv_namespaces: [{ binding: 'KV' }] },
      });
    });
  });
});

it('a batch that runs while its Worker is deployed again ends in the old version, and comes once', async () => {
  await create('slow');
  const host = await deploy('slow', 'slow', { max_batch_timeout: 0 });
  await call(host, 'send', [{ act: 'wait', ms: 3000 }]);
  await until(host, (all) => all.length === 1);
  await deploy('slow', 'slow', { max_batch_timeout: 0 });
  await eventually(async () => (await backlog('slow')).backlog_count === 0);
  assert.deepEqual(await bench.seen(host), [], 'the new version got nothing');
});

it('a consumer that loops is ended by its CPU limit, and its message goes to the dead letters', async () => {
  await create('looping', 'loops');
  const source = `export default {
    async fetch(request, env) { await env.QUEUE.send('loop'); return Response.json({}); },
    queue() { for (;;); },
  }`;
  const config = { limits: { cpu_ms: 200 } };
  const host = await deploy(
    'looping',
    'looping',
    { max_batch_timeout: 0, max_retries: 1, dead_letter_queue: 'loops' },
    { source, config },
  );
  await edge.request(host);
  await eventually(async () => (await backlog('loops')).backlog_count === 1, 30_000);
  assert.equal((await backlog('looping')).backlog_count, 0);
});

it('a consumer may make as many subrequests for each batch as a request may', async () => {
  await create('busy');
  const source = `let fetched = 0;
  export default {
    async fetch(request, env) {
      if (new URL(request.url).pathname === '/fetched') return Response.json(fetched);
      await env.QUEUE.send('x');
      return Response.json({});
    },
    async queue(batch, env) {
      for (let i = 0; i < 30; i++) if ((await env.KV.get('key' + i)) === null) fetched++;
    },
  }`;
  const config = { limits: { subrequests: 50 }, kv_namespaces: [{ binding: 'KV' }] };
  const host = await deploy('busy', 'busy', { max_batch_timeout: 0 }, { source, config });
  for (let n = 1; n <= 4; n++) {
    await edge.request(host);
    await eventually(async () => (await edge.request(host, '/fetched')).json() === 30 * n);
  }
});

it('messages are there after a restart of the machine, and those that were out come again', async () => {
  await create('restarted');
  const host = await deploy('restarted', 'restarted', { max_batch_timeout: 0, max_batch_size: 1, max_concurrency: 1 });
  await call(host, 'send', [{ act: 'wait', ms: 60_000 }]);
  await until(host, (all) => all.length === 1);
  await call(host, 'send', ['behind it']);
  process.kill(edge.pid, 'SIGKILL');
  await edge.stop();
  const again = await startEdge({ dataDir: edge.dataDir });
  try {
    const messages = await eventually(async () => {
      const came = flat((await again.request(again.host('restarted'), '/seen')).json());
      return came.length > 0 && came;
    });
    assert.deepEqual([messages[0]!.body.act, messages[0]!.attempts], ['wait', 1]);
  } finally {
    await again.close();
  }
});
