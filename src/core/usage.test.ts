import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { openBench } from './testing.ts';

const bench = await openBench({
  prices: { currency: 'EUR', base_monthly: 1, per_million_requests: 0.5, included: { requests: 1_000_000 } },
});
const free = await openBench();
after(() => Promise.all([bench.close(), free.close()]));

async function get(path: string, of = bench, token = of.tokens.alice) {
  const response = await fetch(of.origin + path, { headers: { authorization: `Bearer ${token}` } });
  return { status: response.status, ...((await response.json()) as { result: any; errors: any[] }) };
}

describe('usage over the API', () => {
  const month = new Date().toISOString().slice(0, 7);
  bench.usage.add(bench.alice.id, 'shop', { requests: 2_000_000, errors: 3, cpuMs: 1.5, egressBytes: 9 });
  bench.usage.add(bench.alice.id, 'blog', { requests: 1_000_000, subrequests: 4, ingressBytes: 5, durationMs: 6 });
  bench.usage.add(bench.bob.id, 'shop', { requests: 7 });

  it('has a row per Worker and day, and totals', async () => {
    const { result } = await get(`/selvedge/usage?month=${month}`);
    assert.deepEqual(
      result.rows.map(({ script }: any) => script),
      ['blog', 'shop'],
    );
    assert.deepEqual(result.totals, {
      requests: 3_000_000,
      errors: 3,
      cpu_ms: 1.5,
      subrequests: 4,
      egress_bytes: 9,
      ingress_bytes: 5,
      duration_ms: 6,
    });
    assert.deepEqual((await get('/selvedge/usage?month=2020-01')).result.rows, []);
    assert.equal((await get('/selvedge/usage?script=blog')).result.totals.requests, 1_000_000);
  });

  it('makes a bill by the price sheet', async () => {
    const { result } = await get('/selvedge/bill');
    assert.deepEqual([result.month, result.account_id, result.due], [month, bench.alice.id, '2.00']);
    assert.equal((await get('/selvedge/bill?month=2020-01')).result.due, '1.00');
    assert.equal((await get('/selvedge/prices')).result.per_million_requests, 0.5);
  });

  it("is an account's own", async () => {
    const { result } = await get('/selvedge/usage', bench, bench.tokens.bob);
    assert.equal(result.totals.requests, 7);
    assert.equal((await get('/selvedge/bill', bench, bench.tokens.bob)).result.due, '1.00');
  });

  it('refuses what is no day or month', async () => {
    for (const query of ['usage?month=2026-13', 'usage?from=yesterday', 'bill?month=2026']) {
      const { status, errors } = await get(`/selvedge/${query}`);
      assert.deepEqual([status, errors[0].code], [400, 10001], query);
    }
  });

  it('says that there are no bills without a price sheet', async () => {
    for (const path of ['bill', 'prices']) {
      const { status, errors } = await get(`/selvedge/${path}`, free);
      assert.deepEqual([status, errors[0].code], [404, 10311]);
    }
  });
});
