import { startEdge } from '../../test/harness.ts';
import { interleaved, put, type Row, throughput, workerdWithObject } from '../lib.ts';

const SOURCE = `import { DurableObject } from 'cloudflare:workers';
export class Counter extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.storage.sql.exec('CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, n INTEGER); INSERT OR IGNORE INTO t VALUES (1, 0)');
  }
  increment() { return this.ctx.storage.sql.exec('UPDATE t SET n = n + 1 RETURNING n').one().n; }
}
export default { async fetch(request, env) { return new Response(String(await env.COUNTER.getByName('one').increment())) } }`;

export const row: Row = {
  what: 'Durable Object increment (SQL), requests/s on one object',
  against: 'workerd alone on a TCP port',
  goal: '>= 0.75x',
  needs: ['wrk'],
  async run() {
    const edge = await startEdge({ args: ['--edges', '1'] });
    const alone = await workerdWithObject(SOURCE, 'COUNTER', 'Counter');
    try {
      await put(edge, 'counter', SOURCE, {
        bindings: [{ type: 'durable_object_namespace', name: 'COUNTER', class_name: 'Counter' }],
        migrations: { new_tag: 'v1', steps: [{ new_sqlite_classes: ['Counter'] }] },
      });
      await throughput(edge.http, edge.host('counter'));
      const { a, b, ratio } = await interleaved(
        4,
        () => throughput(edge.http, edge.host('counter')),
        () => throughput(alone.port, 'localhost'),
      );
      return {
        measured: `${ratio.toFixed(2)}x`,
        detail: `${a.toFixed(0)} and ${b.toFixed(0)} requests/s, each on disk before it is answered`,
        met: ratio >= 0.75,
      };
    } finally {
      alone.stop();
      await edge.close();
    }
  },
};
