/** Queries of accounts, on processes of their own: few at once, each for a bounded time, and no account keeps others waiting with many. */
import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import { layout } from '../../model/layout.ts';
import { ANALYTICS } from './limits.ts';
import { QueryError } from './tokens.ts';

const IDLE_MS = 30_000;
const HEAP_MB = 512;

export interface ToQueryProcess {
  path: string;
  sql: string;
}
export type FromQueryProcess = { text: string } | { error: string; byAuthor: boolean };

/** The account has too many queries. */
export class Busy extends Error {
  override name = 'Busy';
}

export interface Queries {
  /** The answer's text. Throws QueryError for what its author can mend, Busy, or what went wrong. */
  run(accountId: string, sql: string): Promise<string>;
  close(): void;
}

interface Waiting {
  accountId: string;
  sql: string;
  resolve(text: string): void;
  reject(error: Error): void;
}

/** `queryMs`: what a query may take. */
export function createQueries(dataDir: string, queryMs: number = ANALYTICS.queryMs): Queries {
  const directory = layout(dataDir).analytics;
  const waiting: Waiting[] = [];
  const busy = new Map<ChildProcess, Waiting>();
  const idle = new Map<ChildProcess, NodeJS.Timeout>();

  function next(): void {
    while (busy.size < ANALYTICS.queries) {
      const running = [...busy.values()].map(({ accountId }) => accountId);
      // One at a time of each account, so that all have their turn.
      const at = waiting.findIndex(({ accountId }) => !running.includes(accountId));
      if (at < 0) return;
      start(waiting.splice(at, 1)[0]!);
    }
  }

  function start(query: Waiting): void {
    const child = take();
    busy.set(child, query);
    let outcome: Error | string = new Error('the query process ended: the query needs too much memory, or was stopped');
    const timer = setTimeout(() => {
      outcome = new QueryError(`The query took longer than ${queryMs / 1000} s: look at less time.`);
      child.kill('SIGKILL');
    }, queryMs);
    const end = () => {
      clearTimeout(timer);
      child.off('message', onAnswer).off('exit', end);
      busy.delete(child);
      if (typeof outcome === 'string') query.resolve(outcome);
      else query.reject(outcome);
      next();
    };
    const onAnswer = (answer: FromQueryProcess) => {
      if ('text' in answer) outcome = answer.text;
      else outcome = answer.byAuthor ? new QueryError(answer.error) : new Error(answer.error);
      keep(child);
      end();
    };
    child.on('message', onAnswer).on('exit', end);
    child.send({ path: join(directory, `${query.accountId}.sqlite`), sql: query.sql } satisfies ToQueryProcess);
  }

  function take(): ChildProcess {
    for (const [child, timer] of idle) {
      clearTimeout(timer);
      idle.delete(child);
      if (child.connected) return child;
    }
    const child = fork(new URL('./query-process.ts', import.meta.url), {
      execArgv: ['--disable-warning=ExperimentalWarning', `--max-old-space-size=${HEAP_MB}`],
      env: {},
    });
    child.on('error', () => child.kill('SIGKILL'));
    return child;
  }

  function keep(child: ChildProcess): void {
    const timer = setTimeout(() => {
      idle.delete(child);
      child.disconnect();
    }, IDLE_MS).unref();
    idle.set(child, timer);
  }

  return {
    run(accountId, sql) {
      const own = [...waiting, ...busy.values()].filter((query) => query.accountId === accountId).length;
      if (own > ANALYTICS.waitingQueriesPerAccount) {
        return Promise.reject(new Busy('The account has too many queries at once: try again later.'));
      }
      return new Promise((resolve, reject) => {
        waiting.push({ accountId, sql, resolve, reject });
        next();
      });
    },
    close() {
      for (const { reject } of waiting.splice(0)) reject(new Busy('This Selvedge is being stopped.'));
      for (const timer of idle.values()) clearTimeout(timer);
      for (const child of [...busy.keys(), ...idle.keys()]) child.kill('SIGKILL');
      idle.clear();
    },
  };
}
