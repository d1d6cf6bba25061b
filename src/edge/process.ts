/** Entry of an edge process: takes the snapshot, listens, and drains on SIGTERM. */

import { requestLogPath } from '../config/settings.ts';
import { layout } from '../model/layout.ts';
import { log, reason } from '../model/log.ts';
import { FIRST_LISTENER_FD, settingsFromEnv } from '../model/settings.ts';
import { openFileBlobs } from '../state/file-blobs.ts';
import { connectBus } from '../state/local-bus.ts';
import { AssetStage } from './assets.ts';
import { Connections } from './connections.ts';
import type { Edge } from './handle.ts';
import { Instances } from './instance.ts';
import { LimitHits } from './limit-hits.ts';
import { listen } from './listener.ts';
import { trustedProxies } from './peer.ts';
import type { Observer } from './record.ts';
import { RequestLog } from './request-log.ts';
import { followSnapshot, Snapshot } from './snapshot.ts';
import { StorageStage } from './storage.ts';
import { Traffic } from './traffic.ts';
import { WebSocketRelay } from './websocket-relay.ts';

const DRAIN_MS = 10_000;

const settings = settingsFromEnv();
const bus = connectBus();
// First of all: the supervisor may be stopped while this process still waits for its snapshot.
process.on('disconnect', () => process.exit(1));
const name = process.env.SELVEDGE_PROCESS ?? `edge-${process.pid}`;
const blobs = await openFileBlobs(layout(settings.dataDir).blobs);
const instances = new Instances(bus, name);
const snapshot = new Snapshot(settings.workersDomain, instances);
await followSnapshot(bus, snapshot);
const requestLog =
  settings.requestLog &&
  new RequestLog(settings.requestLog, requestLogPath(settings.requestLog.dir, name), settings.colo);
const hits = new LimitHits();
const connections = new Connections(settings.limits, settings.edges, hits);
const webSockets = new WebSocketRelay(settings.limits, hits);
const traffic = new Traffic(bus, name, () => ({
  connections: connections.open,
  webSockets: webSockets.open,
  limitHits: hits.take(),
}));
// What is not on is not imported: the tracing SDK alone costs 25 MB.
const tracing = settings.traces
  ? new (await import('./tracing.ts')).Tracing(settings.traces, name, settings.colo)
  : null;
const observers: Observer[] = [traffic, requestLog, tracing].filter((each) => each !== null);
const observer: Observer = {
  done(record) {
    for (const each of observers) each.done(record);
  },
};
const edge: Edge = {
  settings,
  snapshot,
  bus,
  assets: new AssetStage(blobs),
  storage: new StorageStage(settings.runDir),
  observer,
  tracing,
  connections,
  webSockets,
  hits,
  trusted: trustedProxies(settings.trustedProxies),
  colo: settings.colo.toUpperCase(),
  draining: false,
};
const sources = settings.listeners.map((listener, index) => ({ ...listener, at: { fd: FIRST_LISTENER_FD + index } }));
const listeners = await listen(edge, sources);
bus.publish('local.ready', { name, pid: process.pid });

let draining = false;
async function drain(): Promise<void> {
  if (draining) return;
  draining = true;
  await listeners.close(DRAIN_MS);
  instances.close();
  traffic.close();
  await Promise.all([requestLog?.close(), tracing?.close()]);
  process.exit(0);
}
process.on('SIGTERM', () => void drain());
// Ctrl-C goes to the whole group: the supervisor decides.
process.on('SIGINT', () => undefined);
process.on('uncaughtException', (error) => {
  log('error', 'the edge process failed', { error: reason(error), stack: error.stack });
  process.exit(1);
});
