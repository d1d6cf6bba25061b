/** The thread of `threaded-messages.ts`: does all that has arrived in one transaction, answers, and looks again. */
import { setImmediate as turn } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { reason } from '../model/log.ts';
import { SqliteMessages } from './sqlite-messages.ts';
import { type Change, type ChangeAnswer, type ChangeRequest, MAX_CHANGES } from './threaded-messages.ts';

const file = new SqliteMessages((workerData as { path: string }).path);
const port = parentPort!;
const waiting: ChangeRequest[] = [];
let closing = false;
let running = false;

port.on('message', (message: ChangeRequest | 'close') => {
  if (message === 'close') closing = true;
  else waiting.push(message);
  if (!running) void run();
});
port.postMessage('ready');

async function run(): Promise<void> {
  running = true;
  // Behind the messages that are there already.
  await turn();
  while (waiting.length > 0) {
    port.postMessage(commit(waiting.splice(0, MAX_CHANGES)));
    await turn();
  }
  running = false;
  if (!closing) return;
  file.close();
  port.close();
}

function commit(batch: ChangeRequest[]): ChangeAnswer[] {
  try {
    return file.transaction(() => batch.map(({ id, change }) => ({ id, result: make(change) })));
  } catch (error) {
    // Nothing of the batch was written: a full disk, or another process holds the file too long.
    return batch.map(({ id }) => ({ id, error: reason(error) }));
  }
}

function make({ method, args }: Change): unknown {
  return (file[method] as (...args: unknown[]) => unknown).apply(file, args);
}
