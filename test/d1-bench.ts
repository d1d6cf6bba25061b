/** D1 in tests: an edge with a database, and a Worker that does what it is told with it. */
import assert from 'node:assert/strict';
import { startEdge } from './harness.ts';

/** Does what the body says with `env.DB`: `steps`, one after the other; a step is [method, args, sql, bound values]. Tells the result, or the error. */
export const CALLER = `
const shown = (value) => value === undefined ? 'undefined' : value;
const bytes = (value) => value?.bytes ? new Uint8Array(value.bytes) : value;
async function act(db, { method, sql, params, args = [], batch, more }) {
  if (batch) return db.batch(batch.map(([text, ...values]) => db.prepare(text).bind(...values)));
  if (sql === undefined) return db[method](...args);
  let statement = db.prepare(sql);
  if (params) statement = statement.bind(...params.map(bytes));
  return statement[method](...args);
}
export default { async fetch(request, env) {
  const asked = await request.json();
  try {
    if (asked.session !== undefined) {
      const session = env.DB.withSession(asked.session ?? undefined);
      const result = await act(session, asked);
      return Response.json({ ok: shown(result), bookmark: session.getBookmark() });
    }
    return Response.json({ ok: shown(await act(env.DB, asked)) });
  } catch (error) {
    return Response.json({ error: error.message, cause: error.cause?.message });
  }
} }`;

export interface Call {
  method?: 'all' | 'first' | 'raw' | 'run' | 'exec' | 'dump';
  sql?: string;
  params?: unknown[];
  args?: unknown[];
  batch?: unknown[][];
  session?: string | null;
}

export async function openD1Bench(options: Parameters<typeof startEdge>[0] = {}) {
  const edge = await startEdge(options);
  const cwd = await edge.project({ name: 'none', compatibility_date: '2026-11-01' }, {});

  async function create(name: string): Promise<string> {
    const created = await edge.deployed(['d1', 'create', name], { cwd });
    return /"database_id": "([0-9a-f-]{36})"/.exec(created)![1]!;
  }
  async function deploy(name: string, id: string, source = CALLER): Promise<string> {
    const project = await edge.project(
      {
        name,
        main: 'index.js',
        compatibility_date: '2026-11-01',
        d1_databases: [{ binding: 'DB', database_name: 'first', database_id: id }],
      },
      { 'index.js': source },
    );
    await edge.deployed(['deploy'], { cwd: project });
    return edge.host(name);
  }
  const id = await create('first');
  const host = await deploy('one', id);
  return {
    edge,
    cwd,
    id,
    host,
    create,
    deploy,
    async call(call: Call, at = host): Promise<any> {
      const answer = await edge.request(at, '/', { method: 'POST', body: JSON.stringify(call) });
      assert.equal(answer.status, 200, answer.text);
      return answer.json();
    },
    d1: (...args: string[]) => edge.deployed(['d1', ...args], { cwd }),
    /** Of the database's process; null if it does not run. */
    async processOf(database: string): Promise<number | null> {
      const { body } = await edge.api('/../../selvedge/status');
      const found = body.result.isolates.find(({ script }: { script: string }) => script === `d1/${database}`);
      return found?.pid ?? null;
    },
  };
}
