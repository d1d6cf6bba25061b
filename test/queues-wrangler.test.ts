/** Queues by the real wrangler and over HTTP: commands, pull consumers, sending from anywhere, and what is refused. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { eventually } from './harness.ts';
import { flat, openQueueBench, WORKER } from './queues-bench.ts';

const bench = await openQueueBench();
const { edge, cwd, queues, create, deploy, call, find, until, backlog } = bench;
after(() => edge.close());
const wrangler = (...args: string[]) => edge.deployed(['queues', ...args], { cwd });
const refused = async (...args: string[]) => {
  const { code, stdout, stderr } = await edge.wrangler(args, { cwd });
  assert.notEqual(code, 0, stdout);
  return stdout + stderr;
};
const post = async (path: string, body: unknown, token?: string) =>
  edge.api(`${queues}/${path}`, { method: 'POST', body, ...(token && { token }) });
const errorOf = ({ status, body }: { status: number; body: any }) => [status, body.errors[0]?.code];
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('wrangler queues', () => {
  it('creates, lists, shows, updates and deletes', async () => {
    assert.match(await wrangler('create', 'first', '--delivery-delay-secs', '5'), /Created queue 'first'/);
    assert.match(await refused('queues', 'create', 'first'), /already taken.*11009/s);
    assert.match(await refused('queues', 'create', 'not a name'), /not a valid queue name.*11003/s);
    await wrangler('create', 'second', '--message-retention-period-secs', '120');
    assert.match(await wrangler('list'), /first[\s\S]*second/);
    assert.match(
      await wrangler('info', 'first'),
      /Queue Name: first[\s\S]*Number of Producers: 0[\s\S]*Number of Consumers: 0/,
    );
    await wrangler('update', 'first', '--delivery-delay-secs', '0');
    assert.deepEqual((await find('first')).settings, {
      delivery_delay: 0,
      message_retention_period: 345_600,
      delivery_paused: false,
    });
    assert.equal((await find('second')).settings.message_retention_period, 120);
    await wrangler('delete', 'second');
    assert.match(await refused('queues', 'info', 'second'), /Queue "second" does not exist/);
  });

  it('shows the Workers of a queue, and deploy keeps the consumer as the configuration says', async () => {
    await create('shown');
    await deploy('shown', 'shown', { max_batch_size: 7, max_retries: 9, dead_letter_queue: 'made-by-itself' });
    const [consumer] = (await find('shown')).consumers;
    assert.deepEqual([consumer.script, consumer.settings.batch_size, consumer.settings.max_retries], ['shown', 7, 9]);
    assert.match(await wrangler('info', 'shown'), /Producers: worker:shown[\s\S]*Consumers: worker:shown/);
    assert.ok(await find('made-by-itself'), 'the queue for dead letters');
    await deploy('shown', 'shown', { max_batch_size: 8 });
    const [changed] = (await find('shown')).consumers;
    assert.deepEqual(
      [changed.consumer_id, changed.settings.batch_size, changed.settings.max_retries],
      [consumer.consumer_id, 8, 3],
    );
    const { body } = await edge.api(`/accounts/${edge.accountId}/workers/scripts/shown/settings`);
    assert.deepEqual(body.result.bindings, [{ name: 'QUEUE', type: 'queue', queue_name: 'shown' }]);
  });

  it('adds and removes a consumer, one at a time, that has a handler', async () => {
    await create('consumed');
    const host = await deploy('consumed', 'consumed', null);
    await deploy('deaf', 'consumed', null, { source: WORKER.replace('async queue(', 'async other(') });
    assert.match(await refused('queues', 'consumer', 'add', 'consumed', 'deaf'), /handler is missing.*11001/s);
    assert.match(await refused('queues', 'consumer', 'add', 'consumed', 'nobody'), /10007/);
    await call(host, 'send', ['early']);
    await wrangler('consumer', 'add', 'consumed', 'consumed', '--batch-timeout', '0', '--max-concurrency', '2');
    assert.deepEqual(flat(await until(host, (all) => all.length === 1))[0]!.body, 'early');
    assert.match(await refused('queues', 'consumer', 'add', 'consumed', 'consumed'), /11004/);
    assert.match(await refused('delete', '--name', 'consumed'), /still in use as a consumer for a queue.*10064/s);
    await wrangler('consumer', 'remove', 'consumed', 'consumed');
    await call(host, 'send', ['kept']);
    await sleep(500);
    assert.equal((await backlog('consumed')).backlog_count, 1);
    await edge.deployed(['delete', '--name', 'consumed'], { cwd });
  });

  it('pauses and resumes delivery, and purges', async () => {
    await create('paused');
    const host = await deploy('paused', 'paused', { max_batch_timeout: 0 });
    await wrangler('pause-delivery', 'paused');
    for (const body of ['a', 'b']) await call(host, 'send', [body]);
    await sleep(500);
    assert.equal((await backlog('paused')).backlog_count, 2);
    await wrangler('purge', 'paused', '--force');
    assert.equal((await backlog('paused')).backlog_count, 0);
    await call(host, 'send', ['c']);
    await wrangler('resume-delivery', 'paused');
    assert.deepEqual(
      flat(await until(host, (all) => all.length > 0)).map(({ body }) => body),
      ['c'],
    );
  });

  it('deploy makes the queues of producers that are not there; an upload and a consumer without one are refused', async () => {
    const project = (more: object) =>
      edge.project(
        { name: 'auto', main: 'index.js', compatibility_date: '2026-11-01', queues: more },
        { 'index.js': WORKER },
      );
    const cwd = await project({ producers: [{ binding: 'QUEUE' }, { binding: 'NAMED', queue: 'by-name' }] });
    await edge.deployed(['deploy'], { cwd });
    for (const binding of ['QUEUE', 'NAMED']) {
      assert.ok((await call(edge.host('auto'), 'send', ['x'], { binding })).ok);
    }
    assert.equal((await backlog('by-name')).backlog_count, 1);

    const bad = await edge.wrangler(['deploy'], { cwd: await project({ consumers: [{ queue: 'nowhere' }] }) });
    assert.notEqual(bad.code, 0);
    assert.match(bad.stdout + bad.stderr, /Queue "nowhere" does not exist/);
    const form = new FormData();
    const bindings = [{ name: 'QUEUE', type: 'queue', queue_name: 'nowhere' }];
    form.set('metadata', JSON.stringify({ main_module: 'index.js', compatibility_date: '2026-11-01', bindings }));
    form.set('index.js', new File([WORKER], 'index.js', { type: 'application/javascript+module' }), 'index.js');
    const uploaded = await edge.api(`/accounts/${edge.accountId}/workers/scripts/auto`, { method: 'PUT', body: form });
    assert.deepEqual(errorOf(uploaded), [404, 11000]);
  });

  it('a queue that was deleted takes nothing from Workers that have it bound still', async () => {
    await create('deleted');
    const host = await deploy('deleted', 'deleted', { max_batch_timeout: 0 });
    await wrangler('delete', 'deleted');
    assert.match((await call(host, 'send', ['x'])).error, /does not exist \(10104\)$/);
  });
});

it('wrangler tail shows the batches of a consumer', async () => {
  await create('tailed');
  const host = await deploy('tailed', 'tailed', { max_batch_timeout: 0 });
  const child = edge.wranglerProcess(['tail', 'tailed', '--format', 'json'], { cwd });
  let output = '';
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  // Until it is connected nobody sees anything.
  await eventually(async () => {
    await call(host, 'send', ['seen']);
    await sleep(300);
    return /"queue": "tailed"/.test(output);
  }, 30_000);
  const closed = new Promise((resolve) => child.once('close', resolve));
  child.kill('SIGINT');
  await closed;
  assert.match(output, /"batchSize": \d/);
});

describe('a pull consumer', () => {
  it('takes messages for some time, acknowledges them, or gives them back', async () => {
    const [id] = await create('pulled');
    assert.deepEqual(errorOf(await post(`${id}/messages/pull`, {})), [404, 11002]);
    await wrangler(
      'consumer',
      'http',
      'add',
      'pulled',
      '--message-retries',
      '1',
      '--dead-letter-queue',
      'pulled-letters',
    );
    const host = await deploy('pulled', 'pulled', null);
    await call(host, 'send', [{ n: 1 }]);
    await call(host, 'send', ['grüße', { contentType: 'text' }]);
    await call(host, 'send', [{ $bytes: [1, 255] }, { contentType: 'bytes' }]);
    const pull = async (body: object) => (await post(`${id}/messages/pull`, body)).body.result;
    const { messages, message_backlog_count } = await pull({ visibility_timeout_ms: 60_000, batch_size: 100 });
    assert.equal(message_backlog_count, 3);
    assert.deepEqual(
      messages.map(({ body, attempts, metadata }: any) => [body, attempts, metadata['CF-Content-Type']]),
      [
        [Buffer.from('{"n":1}').toString('base64'), 1, 'json'],
        ['grüße', 1, 'text'],
        [Buffer.from([1, 255]).toString('base64'), 1, 'bytes'],
      ],
    );
    assert.deepEqual((await pull({})).messages, [], 'somebody has them');
    const [one, two, three] = messages.map(({ lease_id }: any) => ({ lease_id }));
    const acked = await post(`${id}/messages/ack`, {
      acks: [one],
      retries: [two, { ...three, delay_seconds: 60 }, { lease_id: 'none' }],
    });
    assert.deepEqual(
      [acked.body.result.ackCount, acked.body.result.retryCount, acked.body.result.warnings.length],
      [1, 2, 1],
    );
    const again = (await pull({ visibility_timeout_ms: 100 })).messages;
    assert.deepEqual(
      again.map(({ body, attempts }: any) => [body, attempts]),
      [['grüße', 2]],
    );
    // Its second delivery was its last one: nobody acknowledges it in time.
    await sleep(150);
    assert.deepEqual((await pull({})).messages, []);
    assert.deepEqual(
      [(await backlog('pulled')).backlog_count, (await backlog('pulled-letters')).backlog_count],
      [1, 1],
    );
  });

  it('may acknowledge late, and gives back only what is its own', async () => {
    const [id] = await create('late');
    await wrangler('consumer', 'http', 'add', 'late');
    await post(`${id}/messages`, { body: 'x', content_type: 'text' });
    const pull = async () => (await post(`${id}/messages/pull`, { visibility_timeout_ms: 50 })).body.result.messages;
    const [first] = await pull();
    await sleep(60);
    const [second] = await pull();
    assert.deepEqual([second.id, second.attempts], [first.id, 2]);
    const settle = async (body: object) => (await post(`${id}/messages/ack`, body)).body.result;
    assert.equal((await settle({ retries: [{ lease_id: first.lease_id, delay_seconds: 60 }] })).retryCount, 0);
    assert.equal((await settle({ acks: [{ lease_id: first.lease_id }] })).ackCount, 1);
    assert.equal((await backlog('late')).backlog_count, 0);
  });
});

describe('messages over HTTP', () => {
  it('come to a Worker, one or many', async () => {
    const [id] = await create('http');
    const host = await deploy('http', 'http', { max_batch_timeout: 0 });
    const { body } = await post(`${id}/messages`, { body: { from: 'outside' } });
    assert.ok(body.result.metadata.metrics.backlog_count >= 1);
    await post(`${id}/messages/batch`, {
      messages: [
        { body: 'plain', content_type: 'text' },
        { body: [1], delay_seconds: 1 },
      ],
    });
    const messages = flat(await until(host, (all) => flat(all).length === 3));
    assert.deepEqual(
      messages.map(({ body }) => body),
      [{ from: 'outside' }, 'plain', [1]],
    );
    await eventually(async () => (await backlog('http')).backlog_count === 0);
  });

  it('are refused with Cloudflare’s codes', async () => {
    const [id] = await create('codes');
    const large = 'x'.repeat(128_001);
    for (const [path, body, expected] of [
      ['messages', { body: large, content_type: 'text' }, [413, 10204]],
      ['messages', { content_type: 'json' }, [400, 10207]],
      ['messages', { body: 5, content_type: 'text' }, [400, 10207]],
      ['messages', { body: 'x', content_type: 'xml' }, [400, 10207]],
      ['messages', { body: 'x', delay_seconds: 1.5 }, [400, 10203]],
      ['messages', { body: 'x', delay_seconds: { toString: 5 } }, [400, 10203]],
      ['messages/batch', { messages: [] }, [400, 10207]],
      ['messages/batch', { messages: Array(101).fill({ body: 1 }) }, [400, 10206]],
      ['messages/batch', { messages: Array(3).fill({ body: 'x'.repeat(100_000) }) }, [413, 10205]],
      ['messages/batch', { messages: [{ body: 1 }], delay_seconds: 86_401 }, [400, 10202]],
      ['consumers', { type: 'http_pull', settings: { batch_size: 101 } }, [400, 100127]],
      ['consumers', { type: 'http_pull', dead_letter_queue: 'codes' }, [400, 100127]],
      ['consumers', { type: 'ftp' }, [400, 100127]],
    ] as [string, unknown, [number, number]][]) {
      assert.deepEqual(errorOf(await post(`${id}/${path}`, body)), expected, JSON.stringify(body).slice(0, 80));
    }
    const settings = { queue_name: 'codes2', settings: { message_retention_period: 59 } };
    assert.deepEqual(errorOf(await edge.api(queues, { method: 'POST', body: settings })), [400, 100128]);
    assert.equal((await backlog('codes')).backlog_count, 0);
  });
});

it('accounts do not see each other’s queues', async () => {
  const [id] = await create('private');
  const made = await edge.selvedge(['account', 'create', '--name', 'Stranger', '--subdomain', 'stranger']);
  const stranger = /[0-9a-f]{32}/.exec(made.stdout)![0];
  const created = await edge.selvedge(['token', 'create', '--account', stranger, '--name', 'theirs']);
  const token = /[\w-]{43}/.exec(created.stdout)![0];
  const theirs = `/accounts/${stranger}/queues`;
  assert.deepEqual((await edge.api(theirs, { token })).body.result, []);
  for (const [method, path, body] of [
    ['GET', `${id}`],
    ['DELETE', `${id}`],
    ['GET', `${id}/metrics`],
    ['POST', `${id}/purge`, { delete_messages_permanently: true }],
    ['POST', `${id}/messages`, { body: 'x' }],
    ['POST', `${id}/messages/pull`, {}],
    ['POST', `${id}/consumers`, { type: 'http_pull' }],
  ] as [string, string, unknown?][]) {
    assert.deepEqual(
      errorOf(await edge.api(`${theirs}/${path}`, { method, body, token })),
      [404, 11000],
      `${method} ${path}`,
    );
  }
  assert.equal((await edge.api(`${queues}/${id}`, { token })).status, 403);
});
