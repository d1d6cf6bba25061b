/** What happens when Workers throw, sleep, are gone, or die with a request: before real workerd processes. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { after, describe, it } from 'node:test';
import { machineMs } from '../model/clock.ts';
import type { TailEvent } from '../model/messages.ts';
import { type Ask, answer, open, openBench, source, until, versionId } from './testing.ts';

const bench = await openBench();
after(() => bench.close());
bench.script('shop', { [versionId(1)]: 100 });
bench.isolates(versionId(1), [await bench.start(source('one'))]);

const ask = (path: string, options?: Ask) => answer(open(bench, path, options));

describe('faults', () => {
  it("an exception: 1101, without its text; a Worker's own 500 is left alone", async () => {
    for (const method of ['GET', 'POST']) {
      const { status, text, headers } = await ask('/throw', { method, body: method === 'POST' ? 'x' : undefined });
      assert.equal(status, 500);
      assert.match(text, /Error 1101: Worker threw exception/);
      assert.ok(text.includes(headers['cf-ray'] as string));
      assert.doesNotMatch(text, /secret detail/);
    }
    assert.deepEqual((({ status, text }) => [status, text])(await ask('/own500')), [500, 'mine']);
  });

  it('a Worker that sleeps is woken once for many requests, also those with a body', async () => {
    bench.script('sleeper', { [versionId(30)]: 100 });
    bench.wakes = 0;
    const started = bench.start(source('sleeper'));
    bench.onWake = async (version) => bench.isolates(version, [await started]);
    const host = 'sleeper.acme.workers.localhost';
    const texts = await Promise.all(
      Array.from({ length: 10 }, async () => (await ask('/echo', { host, method: 'POST', body: 'hi' })).text),
    );
    assert.deepEqual(new Set(texts), new Set(['hi']));
    assert.equal(bench.wakes, 1);
  });

  it('a process that is gone is replaced before the eyeball notices, bodies included', async () => {
    bench.script('gone', { [versionId(31)]: 100 });
    bench.isolates(versionId(31), ['absent']);
    const next = await bench.start(source('next'));
    bench.onWake = async (version) => bench.isolates(version, [next]);
    assert.equal(
      (await ask('/echo', { host: 'gone.acme.workers.localhost', method: 'POST', body: 'kept' })).text,
      'kept',
    );
  });

  for (const [verdict, status, code, outcome] of [
    ['exceededCpu', 503, 1102, 'exceededCpu'],
    ['exceededMemory', 503, 1102, 'exceededMemory'],
    ['exception', 500, 1101, 'exception'],
  ] as const) {
    it(`a process that dies with a request, ${verdict}: ${status}, ${code}, and a trace for those who tail`, async () => {
      const [name, version] = [`dies-${verdict.toLowerCase()}`, versionId(40)];
      bench.script(name, { [version]: 100 });
      const id = await bench.start(source('dies'));
      bench.isolates(version, [id], true);
      bench.verdict = verdict;
      const traces: [string, TailEvent][] = [];
      const stop = bench.hub.subscribe('tail.>', (trace, subject) => void traces.push([subject, trace]));
      const host = `${name}.acme.workers.localhost`;
      const held = ask('/loop?q=1', {
        host,
        method: 'POST',
        body: 'x',
        headers: { authorization: 'Bearer x', 'x-plain': 'y', accept: 'application/json' },
      });
      await until(() => bench.edge.snapshot.instances.open > 0, 'the request is under way');
      await bench.kill(id);
      const got = await held;
      assert.deepEqual([got.status, JSON.parse(got.text).errors[0].code], [status, code]);
      await until(() => traces.length > 0, 'the trace is published');
      const [subject, trace] = traces[0]!;
      stop();
      assert.equal(subject, `tail.${'a'.repeat(32)}.${name}`);
      assert.equal(trace.outcome, outcome);
      const { url, method, headers } = trace.event!.request as {
        url: string;
        method: string;
        headers: Record<string, string>;
      };
      assert.deepEqual([url, method], [`http://${host}/loop?q=1`, 'POST']);
      assert.deepEqual([headers.authorization, headers['x-plain']], ['REDACTED', 'y']);
    });
  }

  it('a request over a limit is not tried again, though it could be repeated', async () => {
    bench.script('burns', { [versionId(50)]: 100 });
    const id = await bench.start(source('burns'));
    bench.isolates(versionId(50), [id]);
    const host = 'burns.acme.workers.localhost';
    await ask('/', { host });
    bench.verdict = 'exceededCpu';
    bench.wakes = 0;
    const held = ask('/loop', { host });
    await until(() => bench.edge.snapshot.instances.open > 0, 'the request is under way');
    await bench.kill(id);
    assert.equal((await held).status, 503);
    assert.equal(bench.wakes, 0);
  });

  it('a request that came to a process after it had been killed goes to the next one', async () => {
    bench.script('dying', { [versionId(53)]: 100 });
    const dying = await bench.start('export default { fetch: () => scheduler.wait(60_000) }');
    const next = await bench.start(source('next'));
    bench.isolates(versionId(53), [dying]);
    bench.onWake = async (version) => bench.isolates(version, [next]);
    bench.verdict = 'exceededCpu';
    bench.killedAt = machineMs();
    const held = ask('/echo', { host: 'dying.acme.workers.localhost' });
    await until(() => bench.edge.snapshot.instances.open > 0, 'the request is under way');
    await bench.kill(dying);
    assert.equal((await held).status, 200);
    bench.killedAt = null;
  });

  it('an answer that was begun is cut, never ended as if it were whole', async () => {
    bench.script('cut', { [versionId(51)]: 100 });
    const id = await bench.start(source('cut'));
    bench.isolates(versionId(51), [id]);
    const [response] = (await once(open(bench, '/begin', { host: 'cut.acme.workers.localhost' }), 'response')) as [
      IncomingMessage,
    ];
    await once(response, 'data');
    const ended = assert.rejects(once(response.resume(), 'end'), { code: 'ECONNRESET' });
    await bench.kill(id);
    await ended;
  });

  it('an eyeball that leaves while its Worker is woken leaves nothing behind', async () => {
    bench.script('late', { [versionId(52)]: 100 });
    const waiting = Promise.withResolvers<void>();
    const id = await bench.start(source('late'));
    bench.onWake = async (version) => {
      await waiting.promise;
      return bench.isolates(version, [id]);
    };
    bench.wakes = 0;
    const request = open(bench, '/endless', { host: 'late.acme.workers.localhost' }).on('error', () => undefined);
    await until(() => bench.wakes === 1, 'the Worker is being woken');
    request.destroy();
    await new Promise((resolve) => setTimeout(resolve, 50));
    waiting.resolve();
    assert.equal((await ask('/', { host: 'late.acme.workers.localhost' })).text, 'hello from late');
    await until(() => bench.edge.snapshot.instances.open === 0, 'no request is open');
  });
});
