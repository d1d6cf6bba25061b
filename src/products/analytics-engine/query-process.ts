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
/** A query that runs while the parent is killed would go on for ever: this thread sees to it. */
const WATCH = `const parent = process.ppid;
setInterval(() => { if (process.ppid !== parent) process.kill(process.pid, 'SIGKILL'); }, 1000);`;

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
