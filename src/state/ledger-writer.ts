/** The thread of `threaded-ledger.ts`: commits all that has arrived in one transaction, answers, and looks again. */
import { setImmediate as turn } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { reason } from '../model/log.ts';
import { openSqliteLedger, type RawWrite } from './sqlite-ledger.ts';
import type { WriterAnswer, WriterRequest } from './threaded-ledger.ts';

/** Documents of one transaction, about: the first ones should not wait for the last. */
const MAX_BATCH = 1_000;

const ledger = openSqliteLedger((workerData as { path: string }).path);
const port = parentPort!;
const queue: WriterRequest[] = [];
let closing = false;
let running = false;

port.on('message', (message: WriterRequest | 'close') => {
  if (message === 'close') closing = true;
  else queue.push(message);
  if (!running) void run();
});
port.postMessage('ready');

async function run(): Promise<void> {
  running = true;
  // Behind the messages that are there already.
  await turn();
  while (queue.length > 0) {
    const { id, work } = queue[0]!;
    if ('upTo' in work) {
      queue.shift();
      port.postMessage([await compact(id, work.upTo)]);
    } else port.postMessage(commit(takeBatch()));
    await turn();
  }
  running = false;
  if (!closing) return;
  await ledger.close();
  port.close();
}

interface Writes {
  id: number;
  work: RawWrite[];
}

/** The writes at the head of the queue. */
function takeBatch(): Writes[] {
  let count = 0;
  let end = 0;
  for (; end < queue.length && count < MAX_BATCH; end++) {
    const { work } = queue[end]!;
    if ('upTo' in work) break;
    count += work.length;
  }
  return queue.splice(0, end) as Writes[];
}

function commit(batch: Writes[]): WriterAnswer[] {
  try {
    return ledger.commit(batch.map(({ work }) => work)).map((result, index) => {
      const { id } = batch[index]!;
      return result instanceof Error ? { id, conflict: result.key } : { id, revisions: result };
    });
  } catch (error) {
    // Nothing of the batch was written: a full disk, or another process holds the file too long.
    return batch.map(({ id }) => ({ id, error: reason(error) }));
  }
}

async function compact(id: number, upTo: number): Promise<WriterAnswer> {
  try {
    await ledger.compact(upTo);
    return { id, revisions: [] };
  } catch (error) {
    return { id, error: reason(error) };
  }
}
