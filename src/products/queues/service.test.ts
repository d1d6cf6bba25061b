/** The socket of a process's producers: which queues it may name, and what it does with requests that no runtime would send. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type IncomingMessage, request, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { type OpenQueues, openQueues } from './open.ts';
import { DEFAULT_SETTINGS, newQueueId } from './queues.ts';
import { createQueueService } from './service.ts';

let directory: string;
let queues: OpenQueues;
let server: Server;
const [bound, unbound, foreign] = [newQueueId(), newQueueId(), newQueueId()];
let left = 100;
const sent: string[] = [];

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'selvedge-queues-'));
  queues = await openQueues(directory);
  const document = { createdOn: '', modifiedOn: '', settings: DEFAULT_SETTINGS, consumer: null };
  for (const [id, accountId] of [
    [bound, 'mine'],
    [unbound, 'mine'],
    [foreign, 'theirs'],
  ] as const) {
    await queues.messages.create({ id, accountId, name: id, document });
  }
  server = createQueueService({
    queues,
    accountId: 'mine',
    // An attachment that names a queue of somebody else: it is not this account's.
    allowed: [bound, foreign],
    take: () => left-- > 0,
    sent: (id) => sent.push(id),
  }).listen(join(directory, 's'));
  await once(server, 'listening');
});
after(async () => {
  server.close();
  await queues.close();
  await rm(directory, { recursive: true });
});

async function ask(path: string, queue: string, body: string | Buffer = '', headers: Record<string, string> = {}) {
  const asked = request({
    socketPath: join(directory, 's'),
    path,
    method: path === '/metrics' ? 'GET' : 'POST',
    headers: { 'selvedge-queue': queue, ...headers },
    agent: false,
  });
  asked.end(body);
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  response.resume();
  return [response.statusCode, response.headers['cf-queues-error-code']];
}

it('takes messages for the queues that the process binds, and no others', async () => {
  assert.deepEqual(await ask('/message', bound, 'x', { 'x-msg-fmt': 'text' }), [200, undefined]);
  assert.deepEqual(sent, [bound]);
  for (const id of [unbound, foreign, newQueueId(), '', '../x']) {
    for (const path of ['/message', '/metrics'])
      assert.deepEqual(await ask(path, id, path === '/message' ? 'x' : ''), [404, '10104'], `${path} ${id}`);
  }
  assert.equal(queues.messages.backlog(queues.messages.byId(foreign)!.key).count, 0);
});

it('answers what it cannot read, and keeps nothing of it', async () => {
  for (const [path, body, headers, code] of [
    ['/batch', '{', {}, '10208'],
    ['/batch', '{"messages":[]}', {}, '10206'],
    ['/batch', '{"messages":5}', {}, '10208'],
    ['/batch', '{"messages":[{"body":1}]}', {}, '10208'],
    ['/batch', 'x'.repeat(1_000_000), { 'cf-queue-batch-bytes': '750000' }, '10205'],
    ['/message', Buffer.alloc(2_000_000), {}, '10204'],
    ['/message', 'x', { 'x-msg-fmt': 'xml' }, '10203'],
    ['/message', 'x', { 'x-msg-delay-secs': 'soon' }, '10202'],
    ['/other', 'x', {}, '10104'],
  ] as [string, string | Buffer, Record<string, string>, string][]) {
    const [status, given] = await ask(path, bound, body, headers);
    assert.equal(given, code, `${path} ${String(body).slice(0, 30)}: ${status}`);
  }
  assert.equal(queues.messages.backlog(queues.messages.byId(bound)!.key).count, 1);
});

it('counts what the process asks, and refuses what is above its budget', async () => {
  left = 1;
  assert.deepEqual(await ask('/metrics', bound), [200, undefined]);
  assert.deepEqual(await ask('/message', bound, 'x'), [429, '10250']);
});
