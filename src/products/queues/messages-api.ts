/**
 * Messages over HTTP: sending, pulling and acknowledging (https://developers.cloudflare.com/queues/configuration/pull-consumers/). A lease id
 * names a message and the delivery for which it was given out.
 */
import { z } from '@hono/zod-openapi';
import { type App, define, describeIssue } from '../../core/app.ts';
import { readBody } from '../../core/body.ts';
import type { CoreContext } from '../../core/context.ts';
import { ApiError } from '../../core/errors.ts';
import type { Account } from '../../model/documents.ts';
import type { Backlog, Lease, LeasedMessage } from '../../state/messages.ts';
import { requireQueue } from './api.ts';
import { checkBatch, delayOf, QUEUES, QueueError } from './limits.ts';
import type { Outgoing, PullConsumer, Queue } from './queues.ts';

const MESSAGES = '/accounts/{account_id}/queues/{queue_id}/messages';
/** JSON may take six characters for a byte. */
const MAX_SEND_BODY = 6 * QUEUES.batchBytes + 64 * 1024;
const MAX_ACK_BODY = 512 * 1024;

const Message = z.object({
  body: z.unknown(),
  content_type: z.enum(['json', 'text']).default('json'),
  delay_seconds: z.unknown().optional(),
});
const Batch = z.object({ messages: z.array(Message).min(1), delay_seconds: z.unknown().optional() });
const Pull = z.object({
  batch_size: z.number().int().min(1).max(QUEUES.batchSize).nullish(),
  visibility_timeout_ms: z.number().int().min(1).max(QUEUES.maxVisibilityMs).nullish(),
  /** As Cloudflare's older examples call it. */
  visibility_timeout: z.number().int().min(1).max(QUEUES.maxVisibilityMs).nullish(),
});
const LeaseId = z.string().max(256);
const Ack = z.object({
  acks: z
    .array(z.object({ lease_id: LeaseId }))
    .max(QUEUES.acksPerRequest)
    .nullish(),
  retries: z
    .array(z.object({ lease_id: LeaseId, delay_seconds: z.unknown().optional() }))
    .max(QUEUES.acksPerRequest)
    .nullish(),
});

export function registerQueueMessages(app: App, context: CoreContext): void {
  const { queues, bus } = context;

  async function send(queue: Queue, outgoing: Outgoing[]) {
    checkBatch(outgoing.map(({ body }) => body.length));
    const backlog = await queues.send(queue, outgoing);
    bus.publish('local.queue-changed', { queueId: queue.id });
    return { metadata: { metrics: metricsShape(backlog) } };
  }

  const json = { rawBody: 'application/json' };
  define(app, context, { method: 'post', path: MESSAGES, summary: 'Sends a message', ...json }, (call) =>
    answered(async () => {
      const queue = requireQueue(context, call.account, call.params);
      return send(queue, [outgoingOf(await read(Message, call.c.req.raw, MAX_SEND_BODY))]);
    }),
  );

  define(
    app,
    context,
    { method: 'post', path: `${MESSAGES}/batch`, summary: 'Sends up to 100 messages', ...json },
    (call) =>
      answered(async () => {
        const queue = requireQueue(context, call.account, call.params);
        const batch = await read(Batch, call.c.req.raw, MAX_SEND_BODY);
        const ofBatch = delayOf(batch.delay_seconds, 10202);
        return send(
          queue,
          batch.messages.map((message) => outgoingOf(message, ofBatch)),
        );
      }),
  );

  define(
    app,
    context,
    { method: 'post', path: `${MESSAGES}/pull`, summary: 'Takes messages for some time', ...json },
    (call) =>
      answered(async () => {
        const { queue, consumer } = requirePull(context, call.account, call.params);
        const asked = await read(Pull, call.c.req.raw, MAX_ACK_BODY);
        if (queue.document.settings.paused) return pulled([], queues.messages.backlog(queue.key));
        const now = Date.now();
        const visibleMs = asked.visibility_timeout_ms ?? asked.visibility_timeout ?? consumer.visibilityMs;
        const { messages, dead } = await queues.messages.lease({
          queue: queue.key,
          now,
          until: now + visibleMs,
          limit: asked.batch_size ?? consumer.batchSize,
          limitBytes: Number.MAX_SAFE_INTEGER,
          keepFrom: queues.keepFrom(queue, now),
          ...queues.failing(queue),
        });
        tellDead(context, queue, dead);
        return pulled(messages, queues.messages.backlog(queue.key));
      }),
  );

  define(
    app,
    context,
    { method: 'post', path: `${MESSAGES}/ack`, summary: 'Ends what was taken, or gives it back', ...json },
    (call) =>
      answered(async () => {
        const { queue, consumer } = requirePull(context, call.account, call.params);
        const { acks, retries } = await read(Ack, call.c.req.raw, MAX_ACK_BODY);
        const now = Date.now();
        const warnings: string[] = [];
        const known = (id: string) => {
          const lease = leaseOf(id);
          if (!lease) warnings.push(`not a lease id: ${id.slice(0, 64)}`);
          return lease ? [lease] : [];
        };
        const settled = await queues.messages.settle({
          queue: queue.key,
          now,
          acks: (acks ?? []).flatMap(({ lease_id }) => known(lease_id)),
          retries: (retries ?? []).flatMap(({ lease_id, delay_seconds }) => {
            const due = now + (delayOf(delay_seconds, 10203) ?? consumer.retryDelay) * 1000;
            return known(lease_id).map((lease) => ({ ...lease, due }));
          }),
          ...queues.failing(queue),
        });
        tellDead(context, queue, settled.dead);
        return { ackCount: settled.acked, retryCount: settled.retried + settled.dead.length, warnings };
      }),
  );
}

function outgoingOf(
  { body, content_type: format, delay_seconds }: z.output<typeof Message>,
  ofBatch?: number,
): Outgoing {
  const delay = delayOf(delay_seconds, 10203) ?? ofBatch;
  if (format === 'text') {
    if (typeof body !== 'string') throw new QueueError(10207, 'body: a message of content type "text" is a string');
    return { body: Buffer.from(body), format, delay };
  }
  if (body === undefined) throw new QueueError(10207, 'body: a message has a body');
  return { body: Buffer.from(JSON.stringify(body)), format, delay };
}

function pulled(messages: LeasedMessage[], { count }: Backlog) {
  return {
    message_backlog_count: count,
    messages: messages.map((message) => ({
      // Whatever is no text goes as base64, JSON too.
      body: Buffer.from(message.body).toString(message.format === 'text' ? 'utf8' : 'base64'),
      id: message.id,
      timestamp_ms: message.sent,
      attempts: message.attempts,
      metadata: { 'CF-Content-Type': message.format, 'CF-sourceMessageSource': 'worker' },
      lease_id: leaseId(message),
    })),
  };
}

function leaseId({ sequence, id, attempts }: Lease): string {
  return `${sequence}.${attempts}.${id}`;
}

function leaseOf(text: string): Lease | null {
  const [, sequence, attempts, id] = /^(\d{1,15})\.(\d{1,6})\.([0-9a-f]{32})$/.exec(text) ?? [];
  return id ? { sequence: Number(sequence), attempts: Number(attempts), id } : null;
}

function metricsShape({ count, bytes, oldest }: Backlog) {
  return { backlog_count: count, backlog_bytes: bytes, oldest_message_timestamp_ms: oldest };
}

function requirePull(context: CoreContext, account: Account, params: Record<string, string>) {
  const queue = requireQueue(context, account, params);
  const { consumer } = queue.document;
  if (consumer?.type !== 'http_pull') {
    throw new ApiError(
      11002,
      `The queue ${queue.name} has no HTTP pull consumer: wrangler queues consumer http add ${queue.name}`,
    );
  }
  return { queue, consumer: consumer satisfies PullConsumer };
}

function tellDead({ queues, bus }: CoreContext, queue: Queue, ids: string[]): void {
  const queueId = queues.buried(queue, ids);
  if (queueId) bus.publish('local.queue-changed', { queueId });
}

async function read<T extends z.ZodType>(schema: T, request: Request, limit: number): Promise<z.output<T>> {
  let value: unknown;
  try {
    value = JSON.parse((await readBody(request, limit)).toString());
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new QueueError(10208, 'the body is not valid JSON');
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new QueueError(10207, describeIssue(parsed.error, 'body'));
  return parsed.data;
}

async function answered<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof QueueError ? new ApiError(error.code, error.message) : error;
  }
}
