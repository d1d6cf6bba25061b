/**
 * The supervisor: follows the ledger, keeps the PoP's isolate processes as the deployments say, watches the Node processes, and
 * answers what they ask over the bus. It does no request work, so it is never too busy to watch.
 *
 * A deploy's way here: ledger change -> follower -> new version started (fleet) -> edges told -> old version retired.
 */

import { Metrics } from '../metrics/metrics.ts';
import { layout } from '../model/layout.ts';
import { log } from '../model/log.ts';
import type { PopStatus, Publications, Requests } from '../model/messages.ts';
import type { Settings } from '../model/settings.ts';
import { pickVersion } from '../model/traffic.ts';
import { ownDatabases } from '../products/d1/owner.ts';
import { openFileBlobs } from '../state/file-blobs.ts';
import { openHeartbeat } from '../state/heartbeat.ts';
import { createHub } from '../state/local-bus.ts';
import { openObjectFiles } from '../state/object-files.ts';
import { openProductUsage } from '../state/product-usage.ts';
import { openSqliteLedger } from '../state/sqlite-ledger.ts';
import { openUsage } from '../state/usage.ts';
import { openVault } from '../state/vault.ts';
import { Applier } from './applier.ts';
import { openCertificates } from './certificates.ts';
import { Children } from './children.ts';
import { Fleet } from './fleet.ts';
import { Follower } from './follower.ts';
import { forwardTraffic } from './forward-traffic.ts';
import { takesEvent } from './isolates/config.ts';
import { createIsolateHost } from './isolates/host.ts';
import { startMetering } from './metering.ts';
import { openOperatorCertificates } from './operator-certificates.ts';
import { Rooms } from './rooms.ts';
import { Scheduler } from './scheduler.ts';
import { TicketKeys } from './ticket-keys.ts';

/** Processes that ask no isolates. */
const NOT_HOLDERS = new Set(['core', 'r2']);
const EDGE_DRAIN_MS = 12_000;
const OTHERS_DRAIN_MS = 5_000;
/** Versions started at the same time when the machine starts. */
const WARM_CONCURRENCY = 2;

export interface Pop {
  /** The sandbox level in use: 'bubblewrap', 'namespaces' or 'plain'. */
  readonly sandbox: string;
  /**
   * Replaces the edge processes one after the other by ones with these settings; no connection is refused and no request dropped. Throws if
   * one does not start: then the one before serves on, and what replaces it if it dies has its settings.
   */
  reload(settings: Settings): Promise<void>;
  /** Drains and stops everything; what was acknowledged is on disk. */
  close(): Promise<void>;
}

/**
 * Starts core, data, edges and the deployed Workers. `fdsOf`: descriptors of the listening sockets of each edge process, in the order of
 * `settings.listeners`. Throws one clear sentence if a part does not start.
 */
export async function startPop(settings: Settings, fdsOf: (slot: number) => number[]): Promise<Pop> {
  const paths = layout(settings.dataDir);
  const ledger = openSqliteLedger(paths.ledger);
  const blobs = await openFileBlobs(paths.blobs);
  const vault = openVault(paths.secretKey);
  const usage = openUsage(paths.usage);
  const productUsage = openProductUsage(paths.productUsage);
  const ownCertificates = openOperatorCertificates(settings.tls.certificates);
  const heartbeat = openHeartbeat(paths.alive);
  const certificates = await openCertificates(settings.dataDir, settings.limits.certificatesPerMinute);
  const hub = createHub();
  const stopMetering = startMetering(hub, usage, productUsage);
  const metrics = new Metrics(hub);
  const follower = new Follower();
  forwardTraffic(hub, follower, settings.colo);
  const rooms = new Rooms(hub);

  const host = await createIsolateHost({
    runDir: settings.runDir,
    cacheDir: paths.compiled,
    objectsDir: paths.objects,
    blobs,
    vault,
    zygotes: settings.zygotes,
    sandbox: settings.sandbox,
    traced: settings.traces !== undefined,
    attach: (attach) => rooms.attach(attach),
    detach: (isolate) => rooms.detach(isolate),
    onUsage: ({ accountId, script, system }, cpuMs) => {
      // Only what a user's Worker burns is the user's.
      if (system) return;
      usage.add(accountId, script, { cpuMs });
      metrics.used(accountId, script, cpuMs);
    },
  });

  const children = new Children(settings, hub, {
    onReady: async (name, restarted) => {
      if (name === 'data' && restarted) await rooms.attachAgain();
    },
    onExit: (name) => {
      fleet.holderGone(name);
      metrics.gone(name);
      hub.publish('local.gone', { name });
    },
  });
  const fleet = new Fleet({
    host,
    bus: hub,
    follower,
    onExit: (verdict) => metrics.exited(verdict),
    memoryBudgetBytes: settings.isolateMemoryMb * 1024 * 1024,
    maxInstances: settings.maxInstances,
    holders: () => children.names().filter((name) => !NOT_HOLDERS.has(name)),
  });
  ownDatabases(hub, ledger, fleet, openObjectFiles(paths.objects));
  const scheduler = new Scheduler(async (script, cron, timeMs) => {
    const versionId = pickVersion(script.deployment?.versions ?? []);
    const version = versionId ? follower.versions.get(versionId) : undefined;
    if (version && version.modules.length > 0) await fleet.scheduled(version, cron, timeMs);
  });

  const applier = new Applier(follower, fleet, scheduler, (changes) => hub.publish('local.docs', { changes }));

  answer('local.snapshot', () => ({ changes: [...follower.docs.values()], isolates: fleet.sets() }));
  answer('local.wake', async ({ versionId }) => {
    const version = follower.versions.get(versionId);
    if (!version || version.modules.length === 0) throw new Error(`version ${versionId} has no code to run`);
    return fleet.ensure(version);
  });
  answer('local.objects', async ({ accountId, namespace }) => {
    const version = follower.versionWithObjects(accountId, namespace);
    if (!version) throw new Error(`nobody has the Durable Objects ${namespace}`);
    const { isolates } = await fleet.ensure(version);
    if (!isolates[0]?.objects?.[namespace]) throw new Error(`the process with the Durable Objects ${namespace} ended`);
    return isolates[0];
  });
  answer('local.hold', async ({ accountId, script, event, from, withinMs }) => {
    const versionId = pickVersion(follower.script(accountId, script)?.deployment?.versions ?? []);
    const version = versionId ? follower.versions.get(versionId) : undefined;
    if (!version || version.modules.length === 0) throw new Error(`there is no Worker ${script} that runs`);
    if (!takesEvent(version, event)) throw new Error(`the Worker ${script} has no ${event}() handler`);
    const { name, isolate } = await fleet.hold(version, from, withinMs);
    return { hold: name, isolate: isolate.ref.id, socket: isolate.eventSocket };
  });
  hub.subscribe('local.unhold', ({ hold }: Publications['local.unhold']) => fleet.release(hold));
  answer('local.verdict', ({ isolate }) => fleet.verdict(isolate));
  answer('local.certificate', ({ serverName }) => ownCertificates.find(serverName) ?? certificates.issue(serverName));
  const tickets = new TicketKeys(hub);
  answer('local.ticket-keys', () => tickets.current());
  answer('pop.inspect', ({ version }) => host.inspect(version));
  answer('pop.applied', async ({ sequence }) => {
    await applier.applied(sequence);
    return {};
  });
  answer('pop.tail', async ({ accountId, script, seconds }) => {
    await fleet.trace(accountId, script, seconds);
    return {};
  });
  answer('pop.product-usage', (asked) => productUsage.read(asked));
  answer('pop.status', () => status());
  answer('pop.metrics', async () => ({ text: await metrics.text(status()) }));

  function answer<S extends keyof Requests>(
    subject: S,
    handler: (message: Requests[S][0]) => Requests[S][1] | Promise<Requests[S][1]>,
  ): void {
    hub.respond(subject, handler);
  }

  let draining = false;
  function status(): PopStatus {
    return {
      colo: settings.colo,
      sequence: follower.sequence,
      sandbox: host.sandbox,
      zygotes: host.zygoteCount(),
      processes: children.list(),
      draining,
      traffic: metrics.traffic(),
      missed,
      isolates: fleet.status(),
    };
  }

  await applier.load(ledger);
  const missed = heartbeat.before ? scheduler.missed(follower.scripts.values(), heartbeat.before, new Date()) : [];
  for (const events of missed) log('warn', 'cron events were missed while the machine was down', { ...events });
  await children.start('data', 'data/process.ts');
  /** Names of the edge processes by slot: "edge-0", and "edge-0b" for the process that takes its place, in turns. */
  const edges = Array.from({ length: settings.edges }, (_, slot) => `edge-${slot}`);
  await Promise.all([
    children.start('core', 'core/process.ts'),
    children.start('r2', 'products/r2/process.ts'),
    ...edges.map((name, slot) => children.start(name, 'edge/process.ts', fdsOf(slot))),
  ]);
  const stopWatching = ledger.watch(follower.sequence, (changes) => applier.apply(changes));
  void applier.warm(WARM_CONCURRENCY);

  return {
    sandbox: host.sandbox,
    async reload(changed) {
      for (const [slot, name] of edges.entries()) {
        const successor = name.endsWith('b') ? name.slice(0, -1) : `${name}b`;
        await children.replace(name, successor, EDGE_DRAIN_MS, changed);
        edges[slot] = successor;
      }
    },
    async close() {
      draining = true;
      scheduler.close();
      heartbeat.close();
      tickets.close();
      // All there are: a reload may just be starting one.
      const others = children.list().map(({ name }) => name);
      await children.stop(
        others.filter((name) => name !== 'data'),
        EDGE_DRAIN_MS,
      );
      stopWatching();
      fleet.close();
      await host.close();
      await children.stop(['data'], OTHERS_DRAIN_MS);
      stopMetering();
      metrics.close();
      usage.close();
      productUsage.close();
      await hub.close();
      await blobs.close();
      await ledger.close();
    },
  };
}
