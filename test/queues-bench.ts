/** Queues in tests: an edge, and a Worker that sends what it is told and does with messages what they say. */
import assert from 'node:assert/strict';
import { eventually, startEdge } from './harness.ts';

/** What a batch was when it came to the Worker. */
export interface SeenBatch {
  queue: string;
  at: number;
  backlog: { backlogCount: number; backlogBytes: number; oldestMessageTimestamp?: string };
  messages: { id: string; sent: number; attempts: number; body: any }[];
}

/**
 * fetch: sends (`method`, `args`), where `{ $bytes }`, `{ $date }` and `{ $map }` stand for what JSON cannot say, or tells at /seen what
 * came. queue: a body `{ act, times }` does so at its first `times` deliveries.
 */
export const WORKER = `
const seen = [];
const made = (value) => {
  if (value?.$bytes) return new Uint8Array(value.$bytes);
  if (value?.$date) return new Date(value.$date);
  if (value?.$map) return new Map(value.$map);
  return value;
};
const shown = (body) => {
  if (body instanceof Uint8Array) return { $bytes: [...body] };
  if (body instanceof Date) return { $date: +body };
  if (body instanceof Map) return { $map: [...body] };
  return body;
};
export default {
  async fetch(request, env) {
    if (new URL(request.url).pathname === '/seen') return Response.json(seen);
    const { binding = 'QUEUE', method, args } = await request.json();
    if (method === 'send') args[0] = made(args[0]);
    if (method === 'sendBatch') for (const message of args[0]) message.body = made(message.body);
    try {
      return Response.json({ ok: await env[binding][method](...args) });
    } catch (error) {
      return Response.json({ error: error.message, name: error.name });
    }
  },
  async queue(batch, env) {
    const { queue, metadata } = batch;
    const messages = batch.messages.map(({ id, timestamp, attempts, body }) => ({ id, sent: +timestamp, attempts, body: shown(body) }));
    seen.push({ queue, at: Date.now(), backlog: metadata.metrics, messages });
    let failure;
    for (const message of batch.messages) {
      const { act, times = Infinity, delaySeconds, ms } = message.body ?? {};
      if (act === 'wait') await new Promise((resolve) => setTimeout(resolve, ms));
      if (message.attempts > times) continue;
      if (act === 'throw') failure = new Error('told to');
      if (act === 'ack') message.ack();
      if (act === 'retry') message.retry({ delaySeconds });
      if (act === 'retryAll') batch.retryAll({ delaySeconds });
      if (act === 'ackAll') batch.ackAll();
    }
    if (failure) throw failure;
  },
};`;

export async function openQueueBench() {
  const edge = await startEdge();
  const cwd = await edge.project({ name: 'none', compatibility_date: '2026-11-01' }, {});
  const queues = `/accounts/${edge.accountId}/queues`;

  async function find(name: string): Promise<any> {
    const { body } = await edge.api(`${queues}?name=${name}`);
    return body.result[0];
  }

  return {
    edge,
    cwd,
    queues,
    find,
    /** Makes queues. */
    async create(...names: string[]): Promise<string[]> {
      const ids = [];
      for (const queue_name of names) {
        const { body } = await edge.api(queues, { method: 'POST', body: { queue_name } });
        ids.push(body.result.queue_id);
      }
      return ids;
    },
    /** A Worker that sends to `queue` and, if there are `consumer` settings, consumes it. */
    async deploy(
      name: string,
      queue: string,
      consumer: Record<string, unknown> | null = {},
      { source = WORKER, config = {} }: { source?: string; config?: Record<string, unknown> } = {},
    ): Promise<string> {
      const project = await edge.project(
        {
          name,
          main: 'index.js',
          compatibility_date: '2026-11-01',
          queues: {
            producers: [{ binding: 'QUEUE', queue }],
            consumers: consumer ? [{ queue, ...consumer }] : [],
          },
          ...config,
        },
        { 'index.js': source },
      );
      await edge.deployed(['deploy'], { cwd: project });
      return edge.host(name);
    },
    async call(host: string, method: string, args: unknown[], more: object = {}): Promise<any> {
      const answer = await edge.request(host, '/', { method: 'POST', body: JSON.stringify({ method, args, ...more }) });
      assert.equal(answer.status, 200, answer.text);
      return answer.json();
    },
    async seen(host: string): Promise<SeenBatch[]> {
      return (await edge.request(host, '/seen')).json();
    },
    /** The batches that came, when `check` says that it is enough. */
    async until(host: string, check: (batches: SeenBatch[]) => boolean, timeoutMs = 20_000): Promise<SeenBatch[]> {
      let batches: SeenBatch[] = [];
      return eventually(async () => {
        batches = (await edge.request(host, '/seen')).json();
        return check(batches) && batches;
      }, timeoutMs).catch(() => assert.fail(`it came: ${JSON.stringify(batches).slice(0, 2000)}`));
    },
    async backlog(name: string): Promise<{ backlog_count: number; backlog_bytes: number }> {
      const { queue_id } = await find(name);
      return (await edge.api(`${queues}/${queue_id}/metrics`)).body.result;
    },
    /** Its pid, when it is ready. */
    async dataProcess(): Promise<number> {
      const found = await eventually(async () => {
        const { body } = await edge.api('/../../selvedge/status');
        return body.result.processes.find(({ name, ready }: any) => name === 'data' && ready);
      });
      return found.pid;
    },
    /** Pids of the processes of a Worker. */
    async processesOf(script: string): Promise<number[]> {
      const { body } = await edge.api('/../../selvedge/status');
      return body.result.isolates.filter((isolate: any) => isolate.script === script).map(({ pid }: any) => pid);
    },
  };
}

export const flat = (batches: SeenBatch[]) => batches.flatMap(({ messages }) => messages);
