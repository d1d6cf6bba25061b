/** Queues' part of the v4 API: queues and their consumers (https://developers.cloudflare.com/api/resources/queues/). */
import { z } from '@hono/zod-openapi';
import { type App, define, Paging, pageOf } from '../../core/app.ts';
import type { CoreContext } from '../../core/context.ts';
import { ApiError } from '../../core/errors.ts';
import { serialized } from '../../core/serialize.ts';
import { findScript, requireVersion } from '../../core/store.ts';
import type { Account } from '../../model/documents.ts';
import { QUEUES } from './limits.ts';
import { type Consumer, DEFAULT_SETTINGS, newQueueId, type Queue } from './queues.ts';
import { changeQueue, lockOf, producersOf } from './references.ts';
import { checkName, readConsumer, readSettings } from './settings.ts';

const BASE = '/accounts/{account_id}/queues';
const ONE = `${BASE}/{queue_id}`;
const CONSUMERS = `${ONE}/consumers`;
const CONSUMER = `${CONSUMERS}/{consumer_id}`;

const Body = z.object({ queue_name: z.string().optional(), settings: z.unknown().optional() });
const ConsumerBody = z.record(z.string(), z.unknown());

export function registerQueues(app: App, context: CoreContext): void {
  const { queues } = context;
  const { messages } = queues;

  async function shapeOf(queue: Queue) {
    return queueShape(queue, await producersOf(context, queue.accountId));
  }

  define(
    app,
    context,
    {
      method: 'get',
      path: BASE,
      summary: 'Lists queues, those of `name` if it is given, once or often',
      query: Paging,
    },
    async ({ c, account, query }) => {
      const names = c.req.queries('name');
      const all = messages.ofAccount(account.id).filter(({ name }) => !names || names.includes(name));
      const producers = await producersOf(context, account.id);
      return pageOf(
        all.map((queue) => queueShape(queue, producers)),
        query,
      );
    },
  );

  define(app, context, { method: 'post', path: BASE, summary: 'Creates a queue', body: Body }, ({ account, body }) =>
    serialized(lockOf(account.id), async () => {
      const name = checkName(body.queue_name ?? '');
      return shapeOf(await createQueue(context, account, name, body.settings));
    }),
  );

  define(app, context, { method: 'get', path: ONE, summary: 'Shows a queue' }, ({ account, params }) =>
    shapeOf(requireQueue(context, account, params)),
  );

  for (const method of ['put', 'patch'] as const) {
    define(
      app,
      context,
      { method, path: ONE, summary: 'Changes name or settings of a queue', body: Body },
      ({ account, params, body }) =>
        serialized(lockOf(account.id), async () => {
          const queue = requireQueue(context, account, params);
          const before = method === 'put' ? DEFAULT_SETTINGS : queue.document.settings;
          const name = checkName(body.queue_name ?? queue.name);
          return shapeOf(await changeQueue(context, queue, { name, settings: readSettings(body.settings, before) }));
        }),
    );
  }

  define(
    app,
    context,
    { method: 'delete', path: ONE, summary: 'Deletes a queue with its messages' },
    async ({ account, params }) => {
      const { id, key } = requireQueue(context, account, params);
      await messages.remove(key);
      context.bus.publish('local.queue-changed', { queueId: id });
      return null;
    },
  );

  define(
    app,
    context,
    {
      method: 'post',
      path: `${ONE}/purge`,
      summary: 'Deletes all messages of a queue',
      body: z.object({ delete_messages_permanently: z.literal(true) }).loose(),
    },
    async ({ account, params }) => {
      const queue = requireQueue(context, account, params);
      await messages.purge(queue.key);
      return shapeOf(queue);
    },
  );

  define(app, context, { method: 'get', path: `${ONE}/metrics`, summary: 'How much is in a queue' }, (call) => {
    const { count, bytes, oldest } = messages.backlog(requireQueue(context, call.account, call.params).key);
    return { backlog_count: count, backlog_bytes: bytes, oldest_message_timestamp_ms: oldest };
  });

  define(app, context, { method: 'get', path: CONSUMERS, summary: 'Lists the consumers of a queue' }, (call) =>
    consumersOf(requireQueue(context, call.account, call.params)),
  );

  define(
    app,
    context,
    { method: 'post', path: CONSUMERS, summary: 'Gives a queue its consumer', body: ConsumerBody },
    ({ account, params, body }) =>
      serialized(lockOf(account.id), async () => {
        const queue = requireQueue(context, account, params);
        if (queue.document.consumer) {
          throw new ApiError(11004, `workers.api.error.consumer_exists: ${queue.name} has a consumer already.`);
        }
        const consumer = readConsumer(body, { id: newQueueId(), createdOn: new Date().toISOString() });
        return setConsumer(context, account, queue, consumer);
      }),
  );

  define(app, context, { method: 'get', path: CONSUMER, summary: 'Shows a consumer' }, ({ account, params }) => {
    const queue = requireQueue(context, account, params);
    return consumerShape(queue, requireConsumer(queue, params));
  });

  define(
    app,
    context,
    { method: 'put', path: CONSUMER, summary: 'Changes a consumer', body: ConsumerBody },
    ({ account, params, body }) =>
      serialized(lockOf(account.id), async () => {
        const queue = requireQueue(context, account, params);
        const before = requireConsumer(queue, params);
        return setConsumer(context, account, queue, readConsumer({ type: before.type, ...body }, before));
      }),
  );

  define(
    app,
    context,
    { method: 'delete', path: CONSUMER, summary: 'Takes a consumer from its queue; messages stay' },
    ({ account, params }) =>
      serialized(lockOf(account.id), async () => {
        const queue = requireQueue(context, account, params);
        requireConsumer(queue, params);
        await changeQueue(context, queue, { consumer: null });
        return null;
      }),
  );
}

/** A queue of another account is answered as one that is not there. */
export function requireQueue({ queues }: CoreContext, account: Account, params: Record<string, string>): Queue {
  const queue = queues.find(account.id, params.queue_id!);
  if (!queue) throw new ApiError(11000, 'Queue not found');
  return queue;
}

/** With the account's lock held. */
async function createQueue(
  { queues: { messages } }: CoreContext,
  { id: accountId }: Account,
  name: string,
  settings: unknown,
): Promise<Queue> {
  if (messages.ofAccount(accountId).length >= QUEUES.perAccount) {
    throw new ApiError(11005, `An account has at most ${QUEUES.perAccount} queues.`);
  }
  const now = new Date().toISOString();
  const document = {
    createdOn: now,
    modifiedOn: now,
    settings: readSettings(settings, DEFAULT_SETTINGS),
    consumer: null,
  };
  if (!(await messages.create({ id: newQueueId(), accountId, name, document }))) {
    throw new ApiError(11009, `Queue name '${name}' is already taken. Please use a different name and try again.`);
  }
  return messages.byName(accountId, name)!;
}

/** With the account's lock held. A queue for dead letters that is not there is made, as Cloudflare does it. */
async function setConsumer(context: CoreContext, account: Account, queue: Queue, consumer: Consumer) {
  if (consumer.type === 'worker') await requireHandler(context, account, consumer.script);
  const { deadLetterQueue } = consumer;
  if (deadLetterQueue === queue.name) {
    throw new ApiError(100127, `body.dead_letter_queue: ${queue.name} cannot take its own dead letters.`);
  }
  if (deadLetterQueue !== null && !context.queues.messages.byName(account.id, deadLetterQueue)) {
    await createQueue(context, account, deadLetterQueue, undefined);
  }
  const changed = await changeQueue(context, queue, { consumer });
  return consumerShape(changed, consumer);
}

/** Throws ApiError 10007 or 11001 if the Worker is not there, or what is deployed cannot consume. */
async function requireHandler(context: CoreContext, account: Account, name: string): Promise<void> {
  const script = await findScript(context, account.id, name);
  if (!script?.deployment)
    throw new ApiError(10007, `This Worker does not exist on your account: ${name.slice(0, 64)}`);
  for (const { versionId } of script.deployment.versions) {
    const version = await requireVersion(context, script, versionId);
    if (version.format === 'service-worker' || version.handlers.includes('queue')) return;
  }
  throw new ApiError(11001, `Queue handler is missing: the Worker ${name} exports no queue() function.`);
}

function requireConsumer({ name, document: { consumer } }: Queue, params: Record<string, string>): Consumer {
  if (consumer?.id === params.consumer_id) return consumer!;
  throw new ApiError(11002, `The queue ${name} has no such consumer.`);
}

function queueShape(queue: Queue, producers: Map<string, string[]>) {
  const { id, name, document } = queue;
  const senders = (producers.get(id) ?? []).map((script) => ({ type: 'worker', script }));
  const consumers = consumersOf(queue);
  return {
    queue_id: id,
    queue_name: name,
    created_on: document.createdOn,
    modified_on: document.modifiedOn,
    settings: {
      delivery_delay: document.settings.deliveryDelay,
      message_retention_period: document.settings.retention,
      delivery_paused: document.settings.paused,
    },
    producers: senders,
    producers_total_count: senders.length,
    consumers,
    consumers_total_count: consumers.length,
  };
}

function consumersOf(queue: Queue) {
  const { consumer } = queue.document;
  return consumer ? [consumerShape(queue, consumer)] : [];
}

function consumerShape({ id, name }: Queue, consumer: Consumer) {
  const settings = {
    batch_size: consumer.batchSize,
    max_retries: consumer.maxRetries,
    retry_delay: consumer.retryDelay,
  };
  const shape = {
    consumer_id: consumer.id,
    queue_id: id,
    queue_name: name,
    created_on: consumer.createdOn,
    type: consumer.type,
    ...(consumer.deadLetterQueue !== null && { dead_letter_queue: consumer.deadLetterQueue }),
  };
  if (consumer.type === 'http_pull') {
    return { ...shape, settings: { ...settings, visibility_timeout_ms: consumer.visibilityMs } };
  }
  return {
    ...shape,
    script: consumer.script,
    script_name: consumer.script,
    settings: { ...settings, max_wait_time_ms: consumer.maxWaitMs, max_concurrency: consumer.maxConcurrency },
  };
}
