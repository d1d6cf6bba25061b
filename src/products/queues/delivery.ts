/** One batch on its way to the Worker that consumes its queue: to the system Worker beside it, which calls queue(). */
import { once } from 'node:events';
import { request } from 'node:http';
import { json } from 'node:stream/consumers';
import type { Backlog, Lease, LeasedMessage, Settlement } from '../../state/messages.ts';
import { QUEUES } from './limits.ts';
import type { WorkerConsumer } from './queues.ts';

/** What the runtime tells of a call of queue(). */
export interface QueueResult {
  outcome: string;
  ackAll: boolean;
  retryBatch: { retry: boolean; delaySeconds?: number };
  explicitAcks: string[];
  retryMessages: { msgId: string; delaySeconds?: number }[];
}

/** Nothing of the batch came to the Worker. */
export class NotReached extends Error {
  override name = 'NotReached';
}

/** As `readBatch` of system-workers/isolate.js takes it. */
export function encodeBatch(queue: string, messages: readonly LeasedMessage[], backlog: Backlog): Buffer {
  const { count: backlogCount, bytes: backlogBytes, oldest: oldestMessageTimestamp } = backlog;
  const head = Buffer.from(
    JSON.stringify({
      queue,
      metrics: { backlogCount, backlogBytes, oldestMessageTimestamp },
      messages: messages.map(({ id, sent, attempts, format, body }) => ({
        id,
        timestamp: sent,
        attempts,
        format,
        size: body.length,
      })),
    }),
  );
  const length = Buffer.alloc(4);
  length.writeUInt32BE(head.length);
  return Buffer.concat([length, head, ...messages.map(({ body }) => body)]);
}

/**
 * Calls queue() and tells how it ended; `onSent` is called when the batch has left this process, also if it never does. Throws NotReached
 * if nobody listens, and what else happened if the process did not answer.
 */
export async function deliver(socketPath: string, batch: Buffer, onSent: () => void): Promise<QueueResult> {
  const asked = request({
    socketPath,
    path: '/queue',
    method: 'POST',
    headers: { host: 'system', 'content-length': batch.length },
    agent: false,
    signal: AbortSignal.timeout(QUEUES.handlerMs),
  });
  // Also behind the answer's head, when nobody waits for it any more.
  asked.on('error', () => undefined);
  try {
    asked.once('finish', onSent).once('close', onSent).end(batch);
    const [response] = await once(asked, 'response');
    const answer = await json(response);
    if (response.statusCode !== 200) throw new Error(`the process answered ${response.statusCode} to a batch`);
    return answer as QueueResult;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') throw new NotReached('nobody takes batches there');
    throw error;
  }
}

/**
 * Which messages are done with, and which are to be delivered again when. A call for one message wins over one for the batch, and without
 * any the outcome counts (https://developers.cloudflare.com/queues/configuration/batching-retries/). `result` is null if there was none.
 */
export function verdicts(
  messages: readonly Lease[],
  result: QueueResult | null,
  { retryDelay }: Pick<WorkerConsumer, 'retryDelay'>,
  now: number,
): Pick<Settlement, 'acks' | 'retries'> {
  const acked = new Set(result?.explicitAcks);
  const retried = new Map(result?.retryMessages.map(({ msgId, delaySeconds }) => [msgId, delaySeconds]));
  const batchDelay = result?.retryBatch.delaySeconds;
  const failed = !result || result.retryBatch.retry || (result.outcome !== 'ok' && !result.ackAll);
  const acks: Lease[] = [];
  const retries: (Lease & { due: number })[] = [];
  for (const { id, sequence, attempts } of messages) {
    const lease = { id, sequence, attempts };
    if (!acked.has(id) && (retried.has(id) || failed)) {
      const delay = retried.get(id) ?? batchDelay ?? retryDelay;
      retries.push({ ...lease, due: now + bounded(delay) * 1000 });
    } else acks.push(lease);
  }
  return { acks, retries };
}

/** The runtime passes on any number. */
function bounded(delay: number): number {
  return Math.min(Math.max(0, delay), QUEUES.maxDelay);
}
