import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { keys } from '../../model/keys.ts';
import { openBench } from '../testing.ts';
import { openWorker, until } from './testing.ts';

const bench = await openBench();
after(() => bench.close());

const SECOND = 1 / 60;
const HOUR = 60;
type Worker = Awaited<ReturnType<typeof openWorker>>;
const rollout = (worker: Worker, method = 'GET', body?: unknown) =>
  bench.api(method, `${worker.path}/selvedge/rollout`, body);
const steps = (minutes: number, ...percentages: number[]) => percentages.map((percentage) => ({ percentage, minutes }));
const stateOf = async (worker: Worker) => (await rollout(worker)).result.state;

describe('a rollout', () => {
  it('deploys its steps one after the other, and ends with all traffic on the new version', async () => {
    const worker = await openWorker(bench, 'stepping');
    const second = await worker.version();
    const started = await rollout(worker, 'POST', { version_id: second, steps: steps(SECOND, 1, 50, 100) });
    assert.deepEqual([started.result.state, started.result.step], ['running', 0]);
    assert.deepEqual(await worker.shares(), { [worker.first]: 99, [second]: 1 });
    await until(async () => (await stateOf(worker)) === 'finished');
    assert.deepEqual(await worker.shares(), { [second]: 100 });
    const made = await worker.deployments();
    assert.deepEqual(
      made.slice(0, 3).map(({ annotations }) => annotations['workers/message']),
      [
        `Rollout, step 3 of 3: 100% to version ${second.slice(0, 8)}`,
        `Rollout, step 2 of 3: 50% to version ${second.slice(0, 8)}`,
        `Rollout, step 1 of 3: 1% to version ${second.slice(0, 8)}`,
      ],
    );
    // Each step has its time.
    const times = made.slice(0, 3).map(({ created_on }) => Date.parse(created_on));
    assert.ok(times[0]! - times[1]! >= 1000 && times[1]! - times[2]! >= 1000);
  });

  it('stays at its last step if that is less than all', async () => {
    const worker = await openWorker(bench, 'partial');
    const second = await worker.version();
    await rollout(worker, 'POST', { version_id: second, steps: steps(SECOND, 25) });
    await until(async () => (await stateOf(worker)) === 'finished');
    assert.deepEqual(await worker.shares(), { [worker.first]: 75, [second]: 25 });
  });

  it('is stopped by request, and the shares stay', async () => {
    const worker = await openWorker(bench, 'stopped');
    const second = await worker.version();
    await rollout(worker, 'POST', { version_id: second, steps: steps(SECOND, 10, 20) });
    assert.equal((await rollout(worker, 'DELETE')).result.state, 'stopped');
    await new Promise((resolve) => setTimeout(resolve, 2000));
    assert.deepEqual(await worker.shares(), { [worker.first]: 90, [second]: 10 });
  });

  it("is stopped by a user's own deployment, which wins", async () => {
    const worker = await openWorker(bench, 'overtaken');
    const second = await worker.version();
    await rollout(worker, 'POST', { version_id: second, steps: steps(SECOND, 10, 20) });
    const { result } = await worker.deploy({ [worker.first]: 100 });
    await until(async () => (await stateOf(worker)) === 'stopped');
    assert.match((await rollout(worker)).result.reason, new RegExp(`^Another deployment was made: ${result.id}`));
    await new Promise((resolve) => setTimeout(resolve, 1500));
    assert.deepEqual(await worker.shares(), { [worker.first]: 100 });
  });

  it('is rolled back when the version is worse, with the reason, and goes no step further', async () => {
    const worker = await openWorker(bench, 'worse');
    const second = await worker.version();
    await rollout(worker, 'POST', { version_id: second, steps: steps(HOUR, 10, 100) });
    const traffic = { [worker.first]: { requests: 90 }, [second]: { requests: 10, errors: 8 } };
    await worker.reportUntil(traffic, async () => (await stateOf(worker)) === 'rolled-back');
    assert.deepEqual(await worker.shares(), { [worker.first]: 100 });
    const { reason } = (await rollout(worker)).result;
    assert.match(reason, /^Automatic rollback of version/);
    assert.equal((await worker.deployments())[0].annotations['workers/message'], reason);
  });

  it('can be told not to roll back', async () => {
    const worker = await openWorker(bench, 'trusting');
    const second = await worker.version();
    await rollout(worker, 'POST', { version_id: second, steps: steps(HOUR, 10), auto_rollback: false });
    assert.equal((await worker.deployments())[0].annotations['selvedge/auto_rollback'], 'off');
  });

  it('goes on after a restart of the core, and its step begins its time anew', async () => {
    const worker = await openWorker(bench, 'restarted');
    const second = await worker.version();
    await rollout(worker, 'POST', { version_id: second, steps: steps(2 * SECOND, 10, 100) });
    const restartedAt = Date.now();
    await bench.restart();
    assert.equal(await stateOf(worker), 'running');
    await until(async () => (await stateOf(worker)) === 'finished');
    assert.ok(Date.now() - restartedAt >= 2000);
    assert.deepEqual(await worker.shares(), { [second]: 100 });
  });

  it('knows its own step again when the core was stopped between deployment and note', async () => {
    const worker = await openWorker(bench, 'noted');
    const second = await worker.version();
    const key = keys.rollout(bench.alice.id, 'noted');
    await rollout(worker, 'POST', { version_id: second, steps: steps(SECOND, 10, 20, 30) });
    const note = (await bench.ledger.get(key))!.value;
    await until(async () => (await rollout(worker)).result.step === 1);
    // The note as it was before step 2, beside the deployment of step 2.
    await bench.ledger.put(key, note);
    await bench.restart();
    await until(async () => (await stateOf(worker)) === 'finished');
    assert.deepEqual(await worker.shares(), { [worker.first]: 70, [second]: 30 });
  });

  it('goes away with its Worker', async () => {
    const worker = await openWorker(bench, 'deleted');
    const second = await worker.version();
    await rollout(worker, 'POST', { version_id: second, steps: steps(SECOND, 10, 20) });
    await bench.api('DELETE', worker.path);
    await until(async () => (await bench.ledger.get(keys.rollout(bench.alice.id, 'deleted'))) === null);
    // Made anew, it has none.
    const again = await openWorker(bench, 'deleted');
    assert.equal((await rollout(again)).errors[0]!.code, 10322);
  });
});

describe('a rollout is refused', async () => {
  const worker = await openWorker(bench, 'refused');
  const second = await worker.version();
  const third = await worker.version();
  const cases: [name: string, body: unknown, status: number, code: number][] = [
    ['without steps', { version_id: second, steps: [] }, 400, 10001],
    ['with a percentage above 100', { version_id: second, steps: steps(1, 101) }, 400, 10001],
    ['with a step of no time', { version_id: second, steps: steps(0, 10) }, 400, 10001],
    ['with falling percentages', { version_id: second, steps: steps(1, 50, 10) }, 400, 10211],
    ['for an unknown version', { version_id: crypto.randomUUID(), steps: steps(1, 10) }, 404, 10212],
    ['for the version that has all traffic', { version_id: worker.first, steps: steps(1, 10) }, 400, 10211],
  ];
  for (const [name, body, status, code] of cases) {
    it(name, async () => {
      const answer = await rollout(worker, 'POST', body);
      assert.deepEqual([answer.status, answer.errors[0]?.code], [status, code]);
    });
  }

  it('when two other versions share the traffic', async () => {
    await worker.deploy({ [worker.first]: 50, [third]: 50 });
    const answer = await rollout(worker, 'POST', { version_id: second, steps: steps(1, 10) });
    assert.equal(answer.errors[0]?.code, 10211);
  });

  it('while another one runs', async () => {
    assert.equal((await rollout(worker, 'POST', { version_id: third, steps: steps(HOUR, 60) })).status, 200);
    const answer = await rollout(worker, 'POST', { version_id: third, steps: steps(HOUR, 70) });
    assert.deepEqual([answer.status, answer.errors[0]?.code], [409, 10321]);
  });

  it('for another account, and where there is none there is nothing to see', async () => {
    const foreign = await bench.api('GET', `${worker.path}/selvedge/rollout`, undefined, bench.tokens.bob);
    assert.equal(foreign.errors[0]?.code, 9109);
    const plain = await openWorker(bench, 'plain');
    assert.equal((await rollout(plain)).errors[0]?.code, 10322);
    assert.equal((await rollout(plain, 'DELETE')).errors[0]?.code, 10322);
  });
});
