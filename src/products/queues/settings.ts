/** What the API takes as name, settings and consumer of a queue. */
import { z } from '@hono/zod-openapi';
import { describeIssue } from '../../core/app.ts';
import { ApiError, type ErrorCode } from '../../core/errors.ts';
import { DEFAULTS, QUEUES } from './limits.ts';
import type { Consumer, QueueSettings } from './queues.ts';

const seconds = (most: number, least = 0) => z.number().int().min(least).max(most);

const Settings = z.object({
  delivery_delay: seconds(QUEUES.maxDelay).nullish(),
  message_retention_period: seconds(QUEUES.maxRetention, QUEUES.minRetention).nullish(),
  delivery_paused: z.boolean().nullish(),
});

const anyConsumer = {
  dead_letter_queue: z.string().nullish(),
};
const anySettings = {
  batch_size: z.number().int().min(1).max(QUEUES.batchSize).nullish(),
  max_retries: z.number().int().min(0).max(QUEUES.maxRetries).nullish(),
  retry_delay: seconds(QUEUES.maxDelay).nullish(),
};
const WorkerBody = z.object({
  ...anyConsumer,
  script_name: z.string().min(1).max(256),
  settings: z
    .object({
      ...anySettings,
      max_wait_time_ms: z.number().int().min(0).max(QUEUES.maxWaitMs).nullish(),
      max_concurrency: z.number().int().min(1).max(QUEUES.maxConcurrency).nullish(),
    })
    .nullish(),
});
const PullBody = z.object({
  ...anyConsumer,
  settings: z
    .object({ ...anySettings, visibility_timeout_ms: z.number().int().min(1).max(QUEUES.maxVisibilityMs).nullish() })
    .nullish(),
});

/** Throws ApiError 11003. */
export function checkName(name: string): string {
  if (name.length <= QUEUES.nameLength && /^[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?$/i.test(name)) return name;
  throw new ApiError(
    11003,
    `${JSON.stringify(name.slice(0, 80))} is not a valid queue name: 1 to ${QUEUES.nameLength} letters, digits, dashes and underscores, no dash at either end.`,
  );
}

/** Settings of a queue; what is not said stays. Throws ApiError 100128. */
export function readSettings(given: unknown, before: QueueSettings): QueueSettings {
  const settings = read(Settings.nullish(), given, 'settings', 100128);
  return {
    deliveryDelay: settings?.delivery_delay ?? before.deliveryDelay,
    retention: settings?.message_retention_period ?? before.retention,
    paused: settings?.delivery_paused ?? before.paused,
  };
}

/** The delay of a producer's binding, in seconds. Throws ApiError 100128. */
export function deliveryDelayOf(given: unknown): number {
  return read(seconds(QUEUES.maxDelay), given, 'delivery_delay', 100128);
}

/** A consumer from its description; what is not said has its default. Throws ApiError 100127. */
export function readConsumer(given: unknown, identity: Pick<Consumer, 'id' | 'createdOn'>): Consumer {
  const { type } = read(z.object({ type: z.enum(['worker', 'http_pull']).default('worker') }), given, 'body', 100127);
  if (type === 'worker') {
    const { script_name: script, settings, dead_letter_queue } = read(WorkerBody, given, 'body', 100127);
    return {
      ...identity,
      type,
      script,
      ...common(settings, dead_letter_queue, DEFAULTS.batchSize),
      maxWaitMs: settings?.max_wait_time_ms ?? DEFAULTS.maxWaitMs,
      maxConcurrency: settings?.max_concurrency ?? null,
    };
  }
  const { settings, dead_letter_queue } = read(PullBody, given, 'body', 100127);
  return {
    ...identity,
    type,
    ...common(settings, dead_letter_queue, DEFAULTS.pullBatchSize),
    visibilityMs: settings?.visibility_timeout_ms ?? DEFAULTS.visibilityMs,
  };
}

type Common = z.output<z.ZodObject<typeof anySettings>> | null | undefined;

function common(settings: Common, deadLetterQueue: string | null | undefined, batchSize: number) {
  return {
    batchSize: settings?.batch_size ?? batchSize,
    maxRetries: settings?.max_retries ?? DEFAULTS.maxRetries,
    retryDelay: settings?.retry_delay ?? DEFAULTS.retryDelay,
    deadLetterQueue: deadLetterQueue ? checkName(deadLetterQueue) : null,
  };
}

function read<T extends z.ZodType>(schema: T, value: unknown, where: string, code: ErrorCode): z.output<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new ApiError(code, describeIssue(parsed.error, where));
}
