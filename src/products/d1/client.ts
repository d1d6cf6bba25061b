/**
 * The way to a database's process, for the data process (bindings) and the core (control API): wakes it, asks it over its socket, counts what
 * each question cost, and says in Cloudflare's words why there is no answer.
 */
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { IsolateRef, IsolateSet, Publications, Requests } from '../../model/messages.ts';
import type { Bus } from '../../state/bus.ts';
import { D1, DatabaseError } from './limits.ts';
import { versionIdOf } from './process.ts';

const REPORT_MS = 200;
const METER_MS = 1_000;
const WAKE_TIMEOUT_MS = 15_000;
/** A statement ends, or is ended, long before. */
const ANSWER_TIMEOUT_MS = 600_000;
const SOCKETS_PER_DATABASE = 64;
const FREE_SOCKETS_PER_DATABASE = 8;
/** Header of an answer: queries that read and that wrote, rows read and written. */
const USAGE_HEADER = 'selvedge-d1-usage';
const COUNTS = ['readQueries', 'writeQueries', 'rowsRead', 'rowsWritten'] as const;

export interface DatabaseAddress {
  accountId: string;
  id: string;
}

export interface Question {
  method: 'GET' | 'POST';
  path: string;
  headers?: Record<string, string>;
  body?: Buffer | Readable;
  /** Who asked is gone. */
  signal?: AbortSignal;
}

export interface DatabaseClient {
  /** The answer as it comes. Throws DatabaseError; a body that is a stream may then be unread. */
  ask(database: DatabaseAddress, question: Question): Promise<IncomingMessage>;
  close(): void;
}

/** Why a process is gone -> what is said of it (https://developers.cloudflare.com/d1/observability/debug-d1/). */
const VERDICTS: Record<string, string> = {
  exceededCpu: 'D1 DB exceeded its CPU time limit and was reset.',
  exceededMemory: "D1 DB's isolate exceeded its memory limit and was reset.",
};
const LOST = 'Network connection lost.';

/** Nothing of the question was sent. */
class NotSent extends Error {}

/** `from`: name of this process. */
export function createDatabaseClient(bus: Bus, from: string): DatabaseClient {
  const agent = new Agent({
    keepAlive: true,
    maxSockets: SOCKETS_PER_DATABASE,
    maxFreeSockets: FREE_SOCKETS_PER_DATABASE,
  });
  /** Version id -> its process. */
  const known = new Map<string, IsolateRef>();
  const waking = new Map<string, Promise<Requests['local.d1-wake'][1]>>();
  const verdicts = new Map<string, Promise<string>>();
  const queued = new Map<string, number>();
  const open = new Map<string, number>();
  const started = new Map<string, number>();
  const reported = new Map<string, number>();
  const used = new Map<string, { database: DatabaseAddress; counts: number[] }>();

  const stopListening = bus.subscribe('local.isolates', ({ versionId, isolates }: IsolateSet) => {
    if (!known.has(versionId)) return;
    if (isolates[0]) known.set(versionId, isolates[0]);
    else known.delete(versionId);
  });
  const reporting = setInterval(report, REPORT_MS).unref();
  const metering = setInterval(meter, METER_MS).unref();

  async function processOf({ accountId, id }: DatabaseAddress): Promise<IsolateRef> {
    const versionId = versionIdOf(id);
    const there = known.get(versionId);
    if (there) return there;
    let asking = waking.get(versionId);
    if (!asking) {
      asking = bus.request('local.d1-wake', { accountId, id }, { timeoutMs: WAKE_TIMEOUT_MS });
      waking.set(versionId, asking);
      void asking.catch(() => undefined).then(() => waking.delete(versionId));
    }
    const woken = await asking;
    if (!woken) throw new DatabaseError('The database was deleted.');
    known.set(versionId, woken);
    return woken;
  }

  async function ask(database: DatabaseAddress, question: Question): Promise<IncomingMessage> {
    const waiting = queued.get(database.id) ?? 0;
    if (waiting >= D1.queued) throw new DatabaseError('D1 DB is overloaded. Too many requests queued.');
    queued.set(database.id, waiting + 1);
    try {
      for (let again = false; ; again = true) {
        const isolate = await processOf(database);
        try {
          return await send(isolate, database, question);
        } catch (error) {
          if (known.get(versionIdOf(database.id)) === isolate) known.delete(versionIdOf(database.id));
          if (error instanceof DatabaseError || question.signal?.aborted) throw error;
          if (!(error instanceof NotSent) || again) throw new DatabaseError(await whyLost(isolate));
        }
      }
    } finally {
      const left = queued.get(database.id)! - 1;
      if (left > 0) queued.set(database.id, left);
      else queued.delete(database.id);
    }
  }

  function send(isolate: IsolateRef, database: DatabaseAddress, question: Question): Promise<IncomingMessage> {
    const { method, path, headers, body, signal } = question;
    count(open, isolate.id, 1);
    count(started, isolate.id, 1);
    return new Promise((resolve, reject) => {
      let isSent = false;
      const asked = httpRequest({
        socketPath: isolate.main,
        agent,
        method,
        path,
        headers: { host: 'd1', ...headers },
        timeout: ANSWER_TIMEOUT_MS,
        signal,
      });
      const write = () => {
        isSent = true;
        if (body === undefined || Buffer.isBuffer(body)) return void asked.end(body);
        body.once('error', (error) => asked.destroy(error));
        body.pipe(asked);
      };
      asked.once('socket', (socket: Socket) => {
        if (socket.connecting) socket.once('connect', write);
        else write();
      });
      asked.once('timeout', () => asked.destroy(new Error('no answer')));
      asked.once('error', (error) => reject(isSent ? error : new NotSent(error.message)));
      asked.once('close', () => count(open, isolate.id, -1));
      asked.once('response', (response) => {
        const usage = response.headers[USAGE_HEADER];
        if (typeof usage === 'string') add(database, usage);
        resolve(response);
      });
    });
  }

  /** Of many questions that were lost together one asks. */
  function whyLost({ id }: IsolateRef): Promise<string> {
    const asked = verdicts.get(id) ?? verdictOf(id).finally(() => verdicts.delete(id));
    verdicts.set(id, asked);
    return asked;
  }

  async function verdictOf(isolate: string): Promise<string> {
    try {
      const { verdict }: Requests['local.verdict'][1] = await bus.request('local.verdict', { isolate });
      return VERDICTS[verdict] ?? LOST;
    } catch {
      return LOST;
    }
  }

  function add(database: DatabaseAddress, usage: string): void {
    const counts = usage.split(',').map(Number);
    const sum = used.get(database.id);
    if (sum) sum.counts = sum.counts.map((value, index) => value + counts[index]!);
    else used.set(database.id, { database, counts });
  }

  /** What it holds keeps a process from being evicted. */
  function report(): void {
    const isolates: Publications['local.load']['isolates'] = {};
    for (const id of new Set([...open.keys(), ...started.keys(), ...reported.keys()])) {
      const now = open.get(id) ?? 0;
      const begun = started.get(id) ?? 0;
      if (now === (reported.get(id) ?? 0) && begun === 0) continue;
      isolates[id] = { open: now, started: begun };
      if (now > 0) reported.set(id, now);
      else reported.delete(id);
    }
    started.clear();
    if (Object.keys(isolates).length > 0) {
      bus.publish('local.load', { from, isolates } satisfies Publications['local.load']);
    }
  }

  function meter(): void {
    if (used.size === 0) return;
    const usage = [...used.values()].map(({ database, counts }) => ({
      product: 'd1',
      accountId: database.accountId,
      resource: database.id,
      amounts: Object.fromEntries(COUNTS.map((name, index) => [name, counts[index]!])),
    }));
    used.clear();
    bus.publish('local.product-usage', { from, usage } satisfies Publications['local.product-usage']);
  }

  return {
    ask,
    close() {
      clearInterval(reporting);
      clearInterval(metering);
      meter();
      stopListening();
      agent.destroy();
    },
  };
}

function count(counts: Map<string, number>, id: string, by: number): void {
  const sum = (counts.get(id) ?? 0) + by;
  if (sum > 0) counts.set(id, sum);
  else counts.delete(id);
}
