/** Cron events that came due while the machine was down: told of, not replayed. */
import assert from 'node:assert/strict';
import { utimesSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { startEdge } from './harness.ts';

it('are counted by the status and the log after the start, and do not run', async () => {
  const edge = await startEdge();
  const cwd = await edge.project(
    {
      name: 'nightly',
      main: 'index.js',
      compatibility_date: '2026-11-01',
      triggers: { crons: ['*/2 * * * *', '0 0 1 1 *'] },
      kv_namespaces: [{ binding: 'KV' }],
    },
    {
      'index.js': `export default {
        async scheduled(event, env) { await env.KV.put('ran/' + event.scheduledTime, 'x'); },
        async fetch(request, env) { return Response.json((await env.KV.list({ prefix: 'ran/' })).keys.map(({ name }) => Number(name.slice(4)))); },
      }`,
    },
  );
  await edge.deployed(['deploy'], { cwd });
  await edge.stop();
  const down = new Date(Date.now() - 60 * 60_000);
  utimesSync(join(edge.dataDir, 'alive'), down, down);
  const again = await startEdge({ dataDir: edge.dataDir });
  try {
    const { body } = await again.api('/../../selvedge/status');
    const [missed, ...others] = body.result.missed;
    assert.deepEqual([missed.script, missed.cron, others], ['nightly', '*/2 * * * *', []]);
    assert.ok(missed.count >= 29 && missed.count <= 31, String(missed.count));
    assert.match(again.output(), /cron events were missed while the machine was down/);
    assert.match(
      (await again.selvedge(['status'])).stdout,
      /Missed while the machine was down: "\*\/2 \* \* \* \*" of nightly/,
    );
    const ran = (await again.request(again.host('nightly'))).json() as number[];
    assert.ok(
      ran.every((time) => time > Date.now() - 120_000),
      ran.join(),
    );
  } finally {
    await again.close();
    await edge.close();
  }
});
