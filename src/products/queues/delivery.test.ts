/** What becomes of the messages of a batch, by what its Worker said (https://developers.cloudflare.com/queues/configuration/batching-retries/). */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type QueueResult, verdicts } from './delivery.ts';

const messages = ['a', 'b', 'c'].map((id, sequence) => ({ id, sequence, attempts: 1 }));
const said = (result: Partial<QueueResult>): QueueResult => ({
  outcome: 'ok',
  ackAll: false,
  retryBatch: { retry: false },
  explicitAcks: [],
  retryMessages: [],
  ...result,
});
/** Message -> seconds until it comes again; of those that are done with, none. */
function again(result: QueueResult | null): Record<string, number> {
  const { acks, retries } = verdicts(messages, result, { retryDelay: 7 }, 1_000_000);
  assert.equal(acks.length + retries.length, messages.length);
  return Object.fromEntries(retries.map(({ id, due }) => [id, (due - 1_000_000) / 1000]));
}

describe('after a batch', () => {
  for (const [what, result, expected] of [
    ['that went well all messages are done with', said({}), {}],
    ['without an answer all come again, after retry_delay', null, { a: 7, b: 7, c: 7 }],
    [
      'that threw all come again but those that were acknowledged',
      said({ outcome: 'exception', explicitAcks: ['b'] }),
      { a: 7, c: 7 },
    ],
    [
      'that threw after ackAll() only those come again that asked for it',
      said({ outcome: 'exception', ackAll: true, retryMessages: [{ msgId: 'a' }] }),
      { a: 7 },
    ],
    [
      'with retryAll() each has its own delay, else the batch’s',
      said({
        retryBatch: { retry: true, delaySeconds: 3 },
        explicitAcks: ['a'],
        retryMessages: [{ msgId: 'b', delaySeconds: 0 }],
      }),
      { b: 0, c: 3 },
    ],
    [
      'with retry() of one message the others are done with',
      said({ retryMessages: [{ msgId: 'c', delaySeconds: 60 }] }),
      { c: 60 },
    ],
    [
      'a delay is a day at most, and not in the past',
      said({
        retryMessages: [
          { msgId: 'a', delaySeconds: 1e9 },
          { msgId: 'b', delaySeconds: -5 },
        ],
      }),
      { a: 86_400, b: 0 },
    ],
  ] as [string, QueueResult | null, Record<string, number>][]) {
    it(what, () => assert.deepEqual(again(result), expected));
  }
});
