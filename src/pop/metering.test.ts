import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { emptyHistogram } from '../model/histogram.ts';
import type { Publications } from '../model/messages.ts';
import { createHub } from '../state/local-bus.ts';
import { openProductUsage } from '../state/product-usage.ts';
import { openUsage } from '../state/usage.ts';
import { startMetering } from './metering.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-metering-'));
const usage = openUsage(join(directory, 'usage.sqlite'));
const products = openProductUsage(join(directory, 'product-usage.sqlite'));
const hub = createHub();
const stop = startMetering(hub, usage, products);
after(async () => {
  usage.close();
  products.close();
  await hub.close();
  rmSync(directory, { recursive: true });
});

const traffic = (from: string, versionId: string, requests: number): Publications['local.traffic'] => ({
  from,
  versions: [
    {
      versionId,
      accountId: 'a1',
      script: 'shop',
      requests,
      errors: 1,
      bytesIn: 10,
      bytesOut: 1000,
      durationMs: 5 * requests,
      latency: emptyHistogram(),
    },
  ],
});

describe('metering', () => {
  it('adds what all edges report of all versions of a script, and what the data process reports', () => {
    hub.publish('local.traffic', traffic('edge-0', 'v1', 3));
    hub.publish('local.traffic', traffic('edge-1', 'v1', 4));
    hub.publish('local.traffic', traffic('edge-1', 'v2', 5));
    hub.publish('local.egress', {
      from: 'data',
      scripts: [{ accountId: 'a1', script: 'shop', subrequests: 6, bytesOut: 70, bytesIn: 8000, refused: 1 }],
    } satisfies Publications['local.egress']);
    const [row] = usage.read();
    assert.deepEqual(
      { ...row, day: '' },
      {
        accountId: 'a1',
        script: 'shop',
        day: '',
        requests: 12,
        errors: 3,
        cpuMs: 0,
        subrequests: 6,
        egressBytes: 3070,
        ingressBytes: 8030,
        durationMs: 60,
      },
    );
  });

  it('adds what was used of products', () => {
    const use = { product: 'd1', accountId: 'a1', resource: 'db', amounts: { rowsRead: 2, rowsWritten: 0 } };
    hub.publish('local.product-usage', { from: 'data', usage: [use] } satisfies Publications['local.product-usage']);
    hub.publish('local.product-usage', { from: 'core', usage: [use] } satisfies Publications['local.product-usage']);
    const [row] = products.read({ product: 'd1', accountId: 'a1', from: '2000', to: '3000' });
    assert.deepEqual([row?.resource, row?.amounts], ['db', { rowsRead: 4 }]);
  });

  it('ends when it is stopped', () => {
    stop();
    hub.publish('local.traffic', traffic('edge-0', 'v1', 3));
    assert.equal(usage.read()[0]!.requests, 12);
  });
});
