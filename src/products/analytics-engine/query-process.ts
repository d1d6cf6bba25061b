/**
 * Entry of a process that runs queries, one at a time: SQLite cannot be interrupted from JavaScript, a process can be killed. It serves its
 * parent only, and has a lower priority than what serves requests.
 */
import { setPriority } from 'node:os';
import { Worker } from 'node:worker_threads';
import { reason } from '../../model/log.ts';
import type { FromQueryProcess, ToQueryProcess } from './queries.ts';
import { runQuery } from './run.ts';
import { QueryError } from './tokens.ts';

const NICE = 10;
/** SQLite's limit does not count what JavaScript holds, and JavaScript's not its buffers. */
const MAX_BYTES = 1024 * 1024 * 1024;
/** A query that runs while the parent is killed would go on for ever, and one may take all memory: this thread sees to it. */
const WATCH = `const parent = process.ppid;
setInterval(() => {
  if (process.ppid !== parent || process.memoryUsage.rss() > ${MAX_BYTES}) process.kill(process.pid, 'SIGKILL');
}, 50);`;

setPriority(NICE);
new Worker(WATCH, { eval: true, resourceLimits: { maxOldGenerationSizeMb: 8 } }).unref();
process.on('disconnect', () => process.exit());
process.on('SIGINT', () => undefined);
process.on('message', ({ path, sql }: ToQueryProcess) => process.send!(answer(path, sql)));

function answer(path: string, sql: string): FromQueryProcess {
  try {
    return { text: runQuery(path, sql, Date.now()) };
  } catch (error) {
    return { error: reason(error), byAuthor: error instanceof QueryError };
  }
}
