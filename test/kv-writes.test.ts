/** Who sees a write to KV and when: other Workers, memories of processes, and after processes were killed. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { eventually } from './harness.ts';
import { openKvBench } from './kv-bench.ts';

const { edge, cwd, id, host, second, call, kv, deploy, dataProcess } = await openKvBench();
after(() => edge.close());

describe('a write is seen at once', () => {
  it('by the process that wrote, by other Workers, and by those that kept the key in memory', async () => {
    for (let i = 0; i < 30; i++) {
      await call('put', ['hot', `v${i}`], {}, i % 2 ? host : second);
      const seen = await Promise.all([call('get', ['hot']), call('get', ['hot'], {}, second)]);
      assert.deepEqual(
        seen.map(({ ok }) => ok),
        [`v${i}`, `v${i}`],
      );
    }
    await call('delete', ['hot'], {}, second);
    assert.equal((await call('get', ['hot'])).ok, null);
  });

  it('when wrangler wrote', async () => {
    for (const value of ['one', 'two']) {
      await kv('key', 'put', 'told', value, '--namespace-id', id);
      assert.equal((await call('get', ['told'])).ok, value);
    }
  });

  it('while many read: nobody gets an old value after the write was acknowledged', async () => {
    let acknowledged = 0;
    let stop = false;
    const reading = Array.from({ length: 8 }, async (_, i) => {
      while (!stop) {
        const before = acknowledged;
        const read = await call('get', ['raced'], {}, i % 2 ? host : second);
        assert.ok(Number(read.ok) >= before, `read ${JSON.stringify(read)} after ${before} was acknowledged`);
      }
    });
    for (let n = 1; n <= 400; n++) {
      await call('put', ['raced', String(n)], {}, n % 2 ? host : second);
      acknowledged = n;
    }
    stop = true;
    await Promise.all(reading);
  });

  it('after the data process died: what was kept in memory is dropped', async () => {
    await call('put', ['survives', 'old']);
    assert.equal((await call('get', ['survives'])).ok, 'old');
    process.kill(await dataProcess(), 'SIGKILL');
    await eventually(async () => (await call('put', ['survives', 'new'])).error === undefined);
    assert.equal((await call('get', ['survives'])).ok, 'new');
    assert.equal((await call('get', ['survives'], {}, second)).ok, 'new');
  });
});

describe('hot keys', () => {
  it('are answered in the Worker’s process: also a big one, also while the data process stands still', async () => {
    const rows = Array.from({ length: 50_000 }, (_, i) => ({
      id: i,
      name: `product number ${i}`,
      price: (i % 997) / 100,
    }));
    const big = JSON.stringify({ rows, padding: 'x'.repeat(2_500_000) });
    assert.ok(big.length > 5_000_000);
    await writeFile(join(cwd, 'big.json'), big);
    await kv('key', 'put', 'big', '--path', 'big.json', '--namespace-id', id);
    await call('put', ['small', 'v']);
    const reader = await deploy(
      'reader',
      {},
      `export default { async fetch(request, env) {
        const { rows } = await env.KV.get('big', 'json');
        return Response.json([rows.length, rows[49_999].name, await env.KV.get('small'), await env.KV.get('absent')]);
      } }`,
    );
    const expected = [50_000, 'product number 49999', 'v', null];
    assert.deepEqual((await edge.request(reader)).json(), expected);
    const data = await dataProcess();
    process.kill(data, 'SIGSTOP');
    try {
      for (let i = 0; i < 5; i++) assert.deepEqual((await edge.request(reader)).json(), expected);
    } finally {
      process.kill(data, 'SIGCONT');
    }
  });
});

describe('kill -9', () => {
  it('of the data process loses no write that was acknowledged', async () => {
    /** Key -> what may be there: the last value that was acknowledged, and those that failed since then. */
    const allowed = new Map<string, (string | null)[]>();
    let acknowledged = 0;
    let stop = false;
    const writing = Array.from({ length: 8 }, async (_, writer) => {
      for (let n = 0; !stop; n++) {
        const [key, value] = [`killed/${writer}/${n % 20}`, `${n}${'x'.repeat(n % 3 === 0 ? 10_000 : 0)}`];
        const { error } = await call('put', [key, value]);
        if (!error) acknowledged++;
        allowed.set(key, error ? [...(allowed.get(key) ?? [null]), value] : [value]);
      }
    });
    for (let i = 0; i < 3; i++) {
      await new Promise((resolve) => setTimeout(resolve, 400));
      process.kill(await dataProcess(), 'SIGKILL');
      await eventually(async () => (await call('put', ['alive', 'x'])).error === undefined);
    }
    stop = true;
    await Promise.all(writing);
    assert.ok(acknowledged > 100, String(acknowledged));
    for (const [key, values] of allowed) {
      const { ok } = await call('get', [key], {}, second);
      assert.ok(
        values.includes(ok),
        `${key}: ${String(ok).slice(0, 20)} of ${values.map((value) => String(value).slice(0, 20))}`,
      );
    }
  });
});
