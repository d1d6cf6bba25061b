import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import type { EdgeReport, Publications } from '../model/messages.ts';
import { createHub } from '../state/local-bus.ts';
import type { Client } from './identify.ts';
import { type Outcome, RequestRecord } from './record.ts';
import type { VersionDoc } from './snapshot.ts';
import { Traffic } from './traffic.ts';

const hub = createHub();
after(() => hub.close());
const versions: Publications['local.traffic']['versions'] = [];
const reports: EdgeReport[] = [];
hub.subscribe('local.traffic', (message: Publications['local.traffic']) => versions.push(...message.versions));
hub.subscribe('local.edge', (report: EdgeReport) => reports.push(report));
const traffic = new Traffic(hub, 'edge-0', () => ({ connections: 3, webSockets: 1, limitHits: { body: 2 } }));
after(() => traffic.close());

function request(status: number, outcome: Outcome, version: string | null, chosen = false): void {
  const record = new RequestRecord(traffic, { ip: '::1' } as Client, 'r');
  if (version) record.version = { id: version, accountId: 'a', script: 's' } as VersionDoc;
  record.chosen = chosen;
  record.bytesIn = 10;
  record.bytesOut = 100;
  if (status) record.answered(status);
  record.end(outcome);
  record.end('exception');
}

it('adds up requests by version, apart from those that chose theirs, and all of them by status and outcome', async () => {
  request(200, 'ok', 'v1');
  request(500, 'ok', 'v1');
  request(200, 'exception', 'v1');
  request(200, 'canceled', 'v1');
  request(200, 'ok', 'v1', true);
  request(404, 'unknownHost', null);
  request(0, 'canceled', null);
  traffic.flush();
  traffic.flush();
  await new Promise((resolve) => setTimeout(resolve, 10));
  const [usual, chosen, ...more] = versions;
  assert.equal(more.length, 0);
  assert.deepEqual(
    [
      usual!.versionId,
      usual!.accountId,
      usual!.script,
      usual!.requests,
      usual!.errors,
      usual!.bytesIn,
      usual!.bytesOut,
    ],
    ['v1', 'a', 's', 4, 2, 40, 400],
  );
  assert.equal(
    usual!.latency.reduce((sum, count) => sum + count, 0),
    4,
  );
  assert.equal(usual!.chosen, undefined);
  assert.deepEqual([chosen!.requests, chosen!.chosen], [1, true]);
  const [report, empty] = reports;
  assert.deepEqual(report!.statuses, { 0: 1, 200: 4, 404: 1, 500: 1 });
  assert.deepEqual(report!.outcomes, { ok: 3, canceled: 2, exception: 1, unknownHost: 1 });
  assert.deepEqual([report!.connections, report!.webSockets, report!.limitHits], [3, 1, { body: 2 }]);
  assert.deepEqual(empty!.statuses, {});
});
