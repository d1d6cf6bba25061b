import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { createAccount } from '../core/accounts.ts';
import { layout } from '../model/layout.ts';
import { openSqliteLedger } from '../state/sqlite-ledger.ts';
import { openUsage } from '../state/usage.ts';
import { selvedge } from './testing.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-usage-cli-'));
after(() => rmSync(directory, { recursive: true }));
const ledger = openSqliteLedger(layout(directory).ledger);
const alice = await createAccount(ledger, { name: 'Alice', subdomain: 'alice' });
const bob = await createAccount(ledger, { name: 'Bob', subdomain: 'bob' });
await ledger.close();
const usage = openUsage(layout(directory).usage);
usage.add(alice.id, 'shop', { requests: 2_000_000, errors: 5, cpuMs: 1500.25, egressBytes: 3_000_000_000 });
usage.add(alice.id, 'blog', { requests: 1_000_000, subrequests: 7, ingressBytes: 8, durationMs: 9 });
usage.close();
const day = new Date().toISOString().slice(0, 10);
const month = day.slice(0, 7);
const prices = join(directory, 'prices.json');
writeFileSync(
  prices,
  JSON.stringify({ currency: 'EUR', base_monthly: 1, per_million_requests: 0.5, per_gb_egress: '0.01' }),
);
const run = async (...args: string[]) => {
  const { stdout, stderr, code } = await selvedge(['usage', ...args, '--data', directory]);
  assert.equal(code, 0, stderr);
  return stdout;
};

describe('selvedge usage', () => {
  it('prints a row per Worker and day, and totals', async () => {
    const lines = (await run('--month', month)).trim().split('\n');
    assert.match(lines[0]!, /^DAY +ACCOUNT +WORKER +REQUESTS +ERRORS +CPU MS/);
    assert.match(lines[1]!, new RegExp(`^${day} +${alice.id} +blog +1000000 +0 +0 +7 +0 +8 +9$`));
    assert.match(lines[3]!, /^total +3000000 +5 +1500 +7 +3000000000 +8 +9$/);
    assert.doesNotMatch(await run('--month', '2020-01'), /shop/);
  });

  it('prints JSON and CSV for programs', async () => {
    const { rows, totals } = JSON.parse(await run('--json'));
    assert.equal(rows.length, 2);
    assert.deepEqual([totals.requests, totals.cpuMs], [3_000_000, 1500.25]);
    assert.deepEqual((await run('--csv')).trim().split('\n'), [
      'day,account,script,requests,errors,cpu_ms,subrequests,egress_bytes,ingress_bytes,duration_ms',
      `${day},${alice.id},blog,1000000,0,0,7,0,8,9`,
      `${day},${alice.id},shop,2000000,5,1500.25,0,3000000000,0,0`,
    ]);
  });

  it('makes the bill of each account, also of one that used nothing', async () => {
    const text = await run('--bill', '--month', month, '--prices', prices);
    assert.match(text, new RegExp(`^Account ${alice.id}, ${month}, so far: 2.53 EUR$`, 'm'));
    assert.match(text, /^requests +3000000 +0 +3000000 +0\.5 per 1000000 +1\.500000$/m);
    assert.match(text, /^egress_gb +3 +0 +3 +0\.01 per 1 +0\.030000$/m);
    assert.match(text, new RegExp(`^Account ${bob.id}, ${month}, so far: 1.00 EUR$`, 'm'));
    const [one, ...others] = JSON.parse(await run('--bill', '--prices', prices, '--account', alice.id, '--json'));
    assert.deepEqual([one.due, others], ['2.53', []]);
    assert.match(
      await run('--bill', '--csv', '--prices', prices),
      new RegExp(`^${month},${alice.id},requests,3000000,0,3000000,0\\.5,1000000,1\\.500000,EUR$`, 'm'),
    );
    assert.match(await run('--bill', '--month', '2020-01', '--prices', prices), /2020-01: 1\.00 EUR/);
  });

  it('says what is missing or wrong for a bill', async () => {
    const refused = async (args: string[]) =>
      (await selvedge(['usage', '--bill', ...args, '--data', directory])).stderr;
    assert.match(await refused([]), /Selvedge is not running on/);
    assert.match(await refused(['--prices', join(directory, 'none.json')]), /ENOENT/);
    writeFileSync(join(directory, 'bad.json'), '{"currency":"EUR","per_gb_egress":-1}');
    assert.match(await refused(['--prices', join(directory, 'bad.json')]), /per_gb_egress: -1 is no price/);
  });
});
