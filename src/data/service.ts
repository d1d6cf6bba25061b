/**
 * The data process put together: answers `local.attach` and `local.detach`, and gives each isolate process its rooms: egress,
 * cache, tail sink, assets and relays to other Workers.
 */

import type { Server } from 'node:http';
import { LIMITS } from '../model/limits.ts';
import { log } from '../model/log.ts';
import type { Attach, Publications, TailEvent } from '../model/messages.ts';
import type { Settings } from '../model/settings.ts';
import { analyticsData } from '../products/analytics-engine/data.ts';
import { createCacheService } from '../products/cache/service.ts';
import { d1Data } from '../products/d1/data.ts';
import { kvData } from '../products/kv/data.ts';
import type { DataProduct } from '../products/product.ts';
import { queuesData } from '../products/queues/data.ts';
import { r2Data } from '../products/r2/data.ts';
import type { DataProducts } from '../products/state.ts';
import type { Bus } from '../state/bus.ts';
import type { Vault } from '../state/vault.ts';
import type { Resolve } from './addresses.ts';
import { Attachments } from './attachments.ts';
import { createBudget, takeSettled } from './budget.ts';
import { connectSource, createConnectors } from './connectors.ts';
import { chooseDestination } from './destination.ts';
import { type Directory, openDirectory } from './directory.ts';
import { createEgress } from './egress.ts';
import { createMeters } from './egress-meter.ts';
import { createLoops } from './loops.ts';
import { createRelays } from './relay.ts';
import { createTailSink } from './tail-sink.ts';
import type { Tracing } from './tracing.ts';
import { createTransport } from './transport.ts';

/** A Worker that is refused in a loop is told (in its tail) and the operator (in the log) this often. */
const REFUSAL_INTERVAL_MS = 1_000;
const METER_INTERVAL_MS = 1_000;

export interface DataService {
  /** Closes all sockets of all isolates. */
  close(): Promise<void>;
}

export interface DataOptions {
  bus: Bus;
  settings: Pick<
    Settings,
    | 'listen'
    | 'httpPort'
    | 'httpsPort'
    | 'apiPort'
    | 'listeners'
    | 'workersDomain'
    | 'egressAllow'
    | 'egressAllowByAccount'
  >;
  /** The server of the ASSETS binding of one version. */
  assetServer: (attach: Attach) => Server;
  /** Instead of the system's resolver. */
  resolve?: Resolve;
  products: DataProducts;
  /** Opens what was sealed. */
  vault: Pick<Vault, 'unseal'>;
  /** Null if Workers are not traced. */
  tracing?: Tracing | null;
  /** PEM of certificate authorities that origins may use; the system's by default. */
  ca?: string;
}

/** Answers the bus when it resolves. Throws if `egressAllow` (or one of an account) is not a list of address ranges. */
export async function startDataService(options: DataOptions): Promise<DataService> {
  const { bus, settings, assetServer, vault } = options;
  const { kv, queues, r2, cache, analytics } = options.products;
  const connectorOf = createConnectors(options);
  let directory: Directory;
  const relays = createRelays(bus, () => directory);
  directory = await openDirectory(bus, settings.workersDomain, (set) => relays.onIsolates(set));
  const edge = { address: settings.listen, httpPort: settings.httpPort, httpsPort: settings.httpsPort };
  const products: DataProduct[] = [
    kvData(bus, kv),
    queuesData(bus, queues),
    r2Data(r2, { connect: connectSource(connectorOf), unseal: (sealed) => vault.unseal(sealed) }),
    analyticsData(analytics),
    d1Data(bus),
  ];
  const loops = createLoops(LIMITS.openSubrequestsToSelf);
  const meters = createMeters();
  const report = () => {
    const scripts = meters.take();
    if (scripts.length > 0) {
      bus.publish('local.egress', { from: 'data', scripts } satisfies Publications['local.egress']);
    }
  };
  const reporting = setInterval(report, METER_INTERVAL_MS).unref();

  const attachments = new Attachments((attach) => {
    const { accountId, script, versionId } = attach;
    const connector = connectorOf(accountId);
    const transport = createTransport(connector);
    const budget = createBudget(attach.subrequests, () => bus.publish('local.load-wanted', {}));
    const taking = { take: () => takeSettled(budget) };
    const publish = (event: TailEvent) => bus.publish(`tail.${accountId}.${script}`, event);
    let refusedAt = 0;
    const onRefused = (message: string) => {
      const now = Date.now();
      if (now - refusedAt < REFUSAL_INTERVAL_MS) return;
      refusedAt = now;
      log('warn', message, { accountId, script, versionId });
      publish(refusal(attach, message, now));
    };
    return {
      budget,
      egress: createEgress({
        connector,
        transport,
        budget,
        meter: meters.of(accountId, script),
        destination: (url, override) => chooseDestination(directory, edge, { accountId, script }, url, override),
        enterSelf: () => loops.enter(accountId, script),
        cfWorker: () => directory.cfWorker(accountId, script),
        trace: options.tracing?.begin.bind(null, { accountId, script }),
        onRefused,
      }),
      cache: createCacheService({
        store: cache.store,
        scope: (host) => {
          const zone = directory.zoneOf(host);
          // A zone's entries are for all of its Workers; of other hosts each Worker has its own.
          return zone?.accountId === accountId ? `zone/${zone.id}` : `worker/${accountId}/${script}`;
        },
        ...taking,
      }),
      tail: createTailSink({ script, versionId }, publish),
      assets: attach.assets ? assetServer(attach) : null,
      products: products.flatMap((product) => product.room(attach, taking) ?? []),
      services: attach.services.map((service) => ({
        socket: service.socket,
        server: relays.server(accountId, service),
      })),
      close: () => transport.close(),
    };
  });

  const stop = [
    bus.subscribe('local.load', ({ from, isolates }: Publications['local.load']) => {
      for (const [isolate, load] of Object.entries(isolates)) attachments.budget(isolate)?.report(from, load);
    }),
    bus.subscribe('local.gone', ({ name }: Publications['local.gone']) => {
      for (const budget of attachments.budgets()) budget.forget(name);
    }),
    bus.respond('local.attach', async (attach: Attach) => {
      await attachments.attach(attach);
      return {};
    }),
    bus.respond('local.detach', async ({ isolate }: { isolate: string }) => {
      await attachments.detach(isolate);
      return {};
    }),
  ];

  return {
    async close() {
      for (const each of stop) each();
      directory.close();
      relays.close();
      await attachments.close();
      for (const product of products) await product.close();
      clearInterval(reporting);
      report();
    },
  };
}

function refusal({ script, versionId }: Attach, message: string, timestamp: number): TailEvent {
  return {
    outcome: 'exception',
    scriptName: script,
    scriptVersion: { id: versionId },
    diagnosticsChannelEvents: [],
    exceptions: [{ name: 'Error', message, timestamp }],
    logs: [],
    eventTimestamp: timestamp,
    event: null,
    truncated: false,
    executionModel: 'stateless',
  };
}
