/** Durable Objects in a sandboxed process, at each level that works here: storage, SQL and alarms, over stops and kills. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { Version } from '../../model/documents.ts';
import { detectSandbox } from './sandbox.ts';
import { ask, openBench } from './testing.ts';

const COUNTER = `
import { DurableObject } from 'cloudflare:workers';
export class Counter extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.storage.sql.exec('CREATE TABLE IF NOT EXISTS t (n INTEGER)');
  }
  async increment() {
    const n = ((await this.ctx.storage.get('n')) ?? 0) + 1;
    await this.ctx.storage.put('n', n);
    this.ctx.storage.sql.exec('INSERT INTO t VALUES (?)', n);
    return [n, this.ctx.storage.sql.exec('SELECT count(*) AS c FROM t').one().c];
  }
  async arm(ms) { await this.ctx.storage.setAlarm(Date.now() + ms); return 'armed'; }
  async alarm() { await this.ctx.storage.put('rang', true); }
  async rang() { return (await this.ctx.storage.get('rang')) ?? false; }
}
export default { async fetch(request, env) {
  const { pathname, searchParams } = new URL(request.url);
  const stub = env.COUNTER.get(env.COUNTER.idFromName(searchParams.get('name') ?? 'a'));
  const method = pathname.slice(1);
  return Response.json(await stub[method](Number(searchParams.get('ms'))));
} }`;

for (const level of ['bubblewrap', 'namespaces'] as const) {
  const works = await detectSandbox(level).then(
    () => true,
    () => false,
  );
  describe(`Durable Objects in the sandbox ${level}`, { skip: !works }, async () => {
    const bench = works ? await openBench({ sandbox: level }) : null!;
    after(() => bench?.close());
    const storage = randomBytes(16).toString('hex');
    const namespaces = [{ id: randomBytes(16).toString('hex'), className: 'Counter', sqlite: true }];
    const over: Partial<Version> = {
      objects: { storage, namespaces },
      bindings: [{ name: 'COUNTER', type: 'durable_object_namespace', className: 'Counter' }],
    };
    const start = async () =>
      bench.host.start({ version: await bench.version({ 'a.js': COUNTER }, over), tailed: false, entrypoints: [] });
    const call = async (isolate: { ref: { main: string } }, path: string) =>
      JSON.parse((await ask(isolate.ref.main, path)).body);

    it('keep what they stored when the process is stopped and when it is killed', async () => {
      const first = await start();
      assert.deepEqual(await call(first, '/increment'), [1, 1]);
      assert.deepEqual(await call(first, '/increment?name=b'), [1, 1]);
      await first.stop(2_000);
      const second = await start();
      assert.deepEqual(await call(second, '/increment'), [2, 2]);
      const gone = once(second, 'exit');
      second.kill('exception');
      await gone;
      const third = await start();
      assert.deepEqual(await call(third, '/increment'), [3, 3]);
      await third.stop(2_000);
      const files = readdirSync(join(bench.runDir, 'objects', storage, namespaces[0]!.id));
      assert.equal(files.filter((name) => /^[0-9a-f]{64}\.sqlite$/.test(name)).length, 2);
    });

    it('ring alarms that came due while no process ran', async () => {
      const first = await start();
      assert.equal(await call(first, '/arm?ms=300'), 'armed');
      await first.stop(2_000);
      await new Promise((resolve) => setTimeout(resolve, 400));
      const second = await start();
      for (let i = 0; i < 100 && !(await call(second, '/rang')); i++) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      assert.equal(await call(second, '/rang'), true);
      await second.stop(2_000);
    });

    it('of another Worker are other objects, also of a class of the same name', async () => {
      const version = await bench.version(
        { 'a.js': COUNTER },
        { ...over, objects: { storage: randomBytes(16).toString('hex'), namespaces } },
      );
      const other = await bench.host.start({ version, tailed: false, entrypoints: [] });
      assert.deepEqual(await call(other, '/increment'), [1, 1]);
      await other.stop(2_000);
    });

    it('are declared, not stored, where a script is only tried', async () => {
      const version = await bench.version({ 'a.js': COUNTER }, over);
      const result = await bench.host.inspect(version);
      assert.ok(result.ok, JSON.stringify(result));
      assert.deepEqual(
        result.entrypoints.map(({ name, kind }) => [name, kind]),
        [['Counter', 'durable-object']],
      );
    });
  });
}
