import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { DEFAULT_RULE } from '../../model/compare-versions.ts';
import type { CoreContext } from '../context.ts';
import { deploy, Superseded } from '../store.ts';
import { openBench } from '../testing.ts';
import { openWorker, until } from './testing.ts';

const bench = await openBench();
const off = await openBench({ rollout: { ...DEFAULT_RULE, auto_rollback: false } });
after(() => Promise.all([bench.close(), off.close()]));

const BAD = { requests: 40, errors: 12 };
const GOOD = { requests: 360 };

describe('a version that shares the traffic and is worse', { concurrency: true }, () => {
  it('by errors: loses its share, and the deployment says why', async () => {
    const worker = await openWorker(bench, 'errors');
    const second = await worker.version();
    await worker.deploy({ [worker.first]: 90, [second]: 10 });
    const [split] = await worker.deployments();
    await worker.reportUntil({ [worker.first]: GOOD, [second]: BAD }, async () => !(second in (await worker.shares())));
    assert.deepEqual(await worker.shares(), { [worker.first]: 100 });
    const [active] = await worker.deployments();
    assert.equal(active.annotations['workers/triggered_by'], 'rollback');
    assert.match(
      active.annotations['workers/message'],
      new RegExp(
        `^Automatic rollback of version ${second.slice(0, 8)}: 30\\.0% of \\d+ requests failed, on .* 0\\.0% of`,
      ),
    );
    assert.equal(active.annotations['selvedge/rollback_of'], split.id);
  });

  it('by latency: loses its share', async () => {
    const worker = await openWorker(bench, 'slow');
    const second = await worker.version();
    await worker.deploy({ [worker.first]: 50, [second]: 50 });
    const traffic = { [worker.first]: { requests: 50, ms: 5 }, [second]: { requests: 50, ms: 300 } };
    await worker.reportUntil(traffic, async () => !(second in (await worker.shares())));
    assert.match((await worker.deployments())[0].annotations['workers/message'], /its p95 is 362 ms, that of/);
  });

  it('is the one that came last, also when it has the larger share', async () => {
    const worker = await openWorker(bench, 'larger');
    const second = await worker.version();
    await worker.deploy({ [worker.first]: 90, [second]: 10 });
    await worker.deploy({ [worker.first]: 10, [second]: 90 });
    const traffic = { [worker.first]: { requests: 40 }, [second]: { requests: 360, errors: 100 } };
    await worker.reportUntil(traffic, async () => !(second in (await worker.shares())));
    assert.deepEqual(await worker.shares(), { [worker.first]: 100 });
  });

  it('stays when the deployment says that it does', async () => {
    const worker = await openWorker(bench, 'annotated');
    const second = await worker.version();
    await worker.deploy({ [worker.first]: 90, [second]: 10 }, { 'selvedge/auto_rollback': 'off' });
    for (let i = 0; i < 35; i++) {
      worker.report({ [worker.first]: GOOD, [second]: BAD });
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.deepEqual(await worker.shares(), { [worker.first]: 90, [second]: 10 });
  });

  it('stays when the machine is configured so', async () => {
    const worker = await openWorker(off, 'configured');
    const second = await worker.version();
    await worker.deploy({ [worker.first]: 90, [second]: 10 });
    for (let i = 0; i < 35; i++) {
      worker.report({ [worker.first]: GOOD, [second]: BAD });
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.deepEqual(await worker.shares(), { [worker.first]: 90, [second]: 10 });
  });

  it('stays when it is the old one that is bad, and when both are', async () => {
    for (const [name, fresh] of [
      ['old-bad', GOOD],
      ['both-bad', { requests: 360, errors: 108 }],
    ] as const) {
      const worker = await openWorker(bench, name);
      const second = await worker.version();
      await worker.deploy({ [worker.first]: 50, [second]: 50 });
      for (let i = 0; i < 35; i++) {
        worker.report({ [worker.first]: { requests: 360, errors: 108 }, [second]: fresh });
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      assert.deepEqual(await worker.shares(), { [worker.first]: 50, [second]: 50 }, name);
    }
  });

  it('is judged by what it did since the deployment: a deployment made by hand begins anew', async () => {
    const worker = await openWorker(bench, 'again');
    const second = await worker.version();
    await worker.deploy({ [worker.first]: 90, [second]: 10 });
    await worker.reportUntil({ [worker.first]: GOOD, [second]: BAD }, async () => !(second in (await worker.shares())));
    await worker.deploy({ [worker.first]: 80, [second]: 20 });
    for (let i = 0; i < 35; i++) {
      worker.report({ [worker.first]: GOOD, [second]: { requests: 40 } });
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.deepEqual(await worker.shares(), { [worker.first]: 80, [second]: 20 });
  });
});

describe('the deployment of a roll-back', () => {
  it("is not made when the user's own came first", async () => {
    const worker = await openWorker(bench, 'race');
    const second = await worker.version();
    const { result: split } = await worker.deploy({ [worker.first]: 90, [second]: 10 });
    const { result: own } = await worker.deploy({ [second]: 100 });
    const shares = [{ versionId: worker.first, percentage: 100 }];
    const context = { ledger: bench.ledger } as CoreContext;
    await assert.rejects(deploy(context, bench.alice.id, 'race', shares, {}, split.id), Superseded);
    assert.equal((await worker.deployments())[0].id, own.id);
    assert.equal((await worker.deployments()).length, 3);
    await deploy(context, bench.alice.id, 'race', shares, {}, own.id);
    assert.deepEqual(await worker.shares(), { [worker.first]: 100 });
  });
});

describe('the counts', () => {
  it('are shown with the rollout, and begin anew with each deployment', async () => {
    const worker = await openWorker(bench, 'shown');
    const second = await worker.version();
    const started = await bench.api('POST', `${worker.path}/selvedge/rollout`, {
      version_id: second,
      steps: [{ percentage: 10, minutes: 60 }],
    });
    assert.equal(started.status, 200);
    const compared = async () => (await bench.api('GET', `${worker.path}/selvedge/rollout`)).result.comparison;
    await worker.reportUntil(
      { [worker.first]: { requests: 9, ms: 5 }, [second]: { requests: 1, ms: 5 } },
      async () => (await compared())?.new.requests > 0,
    );
    const { old, new: fresh, looks } = await compared();
    assert.equal(old.requests, 9 * fresh.requests);
    assert.deepEqual([old.version_id, fresh.version_id, looks], [worker.first, second, 0]);
    assert.ok(fresh.p95_ms >= 5 && fresh.p95_ms < 8);
    await worker.deploy({ [worker.first]: 50, [second]: 50 });
    assert.equal(await compared(), null);
    await until(async () => {
      worker.report({ [second]: { requests: 1 } });
      return (await compared())?.new.requests > 0;
    });
    assert.equal((await compared()).old.requests, 0);
  });
});
