import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import type { Script } from '../model/documents.ts';
import { emptyHistogram } from '../model/histogram.ts';
import type { Publications, VersionTraffic } from '../model/messages.ts';
import { createHub } from '../state/local-bus.ts';
import { Follower } from './follower.ts';
import { forwardTraffic } from './forward-traffic.ts';

const hub = createHub();
after(() => hub.close());

const traffic = (script: string, versionId: string): VersionTraffic => ({
  versionId,
  accountId: 'a1',
  script,
  requests: 1,
  errors: 0,
  bytesIn: 0,
  bytesOut: 0,
  durationMs: 1,
  latency: emptyHistogram(),
});

it('the core is told the traffic of versions that share it with another, not of others, nor of requests that chose theirs', () => {
  const follower = new Follower();
  const deployed = (name: string, ...versionIds: string[]) => {
    const versions = versionIds.map((versionId) => ({ versionId, percentage: 100 / versionIds.length }));
    const script = { accountId: 'a1', name, deployment: { id: 'd', versions } } as unknown as Script;
    follower.apply({ sequence: 1, key: `script/a1/${name}`, value: script });
  };
  deployed('split', 'v1', 'v2');
  deployed('whole', 'v3');
  const told: Publications['pop.traffic'][] = [];
  hub.subscribe('pop.traffic', (message) => told.push(message));
  forwardTraffic(hub, follower, 'dev');
  hub.publish('local.traffic', {
    from: 'edge-0',
    // v0 is at its preview host only, "gone" is deleted.
    versions: [
      traffic('split', 'v1'),
      traffic('whole', 'v3'),
      traffic('split', 'v0'),
      traffic('split', 'v2'),
      { ...traffic('split', 'v2'), requests: 1000, errors: 1000, chosen: true },
      traffic('gone', 'v9'),
    ],
  } satisfies Publications['local.traffic']);
  hub.publish('local.traffic', { from: 'edge-0', versions: [traffic('whole', 'v3')] });
  assert.deepEqual(
    told.map(({ pop, versions }) => [pop, versions.map(({ versionId, requests }) => `${versionId} ${requests}`)]),
    [['dev', ['v1 1', 'v2 1']]],
  );
});
