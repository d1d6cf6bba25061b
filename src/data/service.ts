/**
 * The data process put together: answers `local.attach` and `local.detach`, and gives each isolate process its rooms: egress,
 * cache, tail sink, assets and relays to other Workers.
 */
import type { Server } from 'node:http';
import { log } from '../model/log.ts';
import type { Attach, Publications, TailEvent } from '../model/messages.ts';
import type { Settings } from '../model/settings.ts';
import type { Bus } from '../state/bus.ts';
import { createAddresses, type Resolve } from './addresses.ts';
import { Attachments } from './attachments.ts';
import { createBudget } from './budget.ts';
import { createCache } from './cache.ts';
import { type Directory, openDirectory } from './directory.ts';
import { createEgress } from './egress.ts';
import { createOrigin } from './origin.ts';
import { createRelays } from './relay.ts';
import { createTailSink } from './tail-sink.ts';

/** A Worker that is refused in a loop is told (in its tail) and the operator (in the log) this often. */
const REFUSAL_INTERVAL_MS = 1_000;

export interface DataService {
  /** Closes all sockets of all isolates. */
  close(): Promise<void>;
}

export interface DataOptions {
  bus: Bus;
  settings: Pick<Settings, 'listen' | 'httpPort' | 'httpsPort' | 'workersDomain' | 'egressAllow'>;
  /** The server of the ASSETS binding of one version. */
  assetServer: (attach: Attach) => Server;
  /** Instead of the system's resolver. */
  resolve?: Resolve;
  /** PEM of certificate authorities that origins may use; the system's by default. */
  ca?: string;
}

/** Answers the bus when it resolves. Throws if `egressAllow` is not a list of address ranges. */
export async function startDataService({ bus, settings, assetServer, resolve, ca }: DataOptions): Promise<DataService> {
  const addresses = createAddresses(settings.egressAllow, resolve);
  let directory: Directory;
  const relays = createRelays(bus, () => directory);
  directory = await openDirectory(bus, settings.workersDomain, (set) => relays.onIsolates(set));
  const edge = {
    address: reachable(settings.listen),
    httpPort: settings.httpPort,
    httpsPort: settings.httpsPort,
    isServedHere: (hostname: string) => directory.isServedHere(hostname),
  };

  const attachments = new Attachments((attach) => {
    const { accountId, script, versionId } = attach;
    const origin = createOrigin(addresses, edge, ca);
    const budget = createBudget(attach.subrequests);
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
      egress: createEgress({ origin, budget, cfWorker: () => directory.cfWorker(accountId, script), onRefused }),
      cache: createCache(),
      tail: createTailSink({ script, versionId }, publish),
      assets: attach.assets ? assetServer(attach) : null,
      services: attach.services.map((service) => ({
        socket: service.socket,
        server: relays.server(accountId, service),
      })),
      close: () => origin.close(),
    };
  });

  const stop = [
    bus.subscribe('local.load', ({ from, isolates }: Publications['local.load']) => {
      for (const [isolate, load] of Object.entries(isolates)) attachments.budget(isolate)?.report(from, load);
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
    },
  };
}

/** The address at which this machine reaches a listener: 0.0.0.0 and :: are no destinations. */
function reachable(listen: string): string {
  if (listen === '0.0.0.0') return '127.0.0.1';
  return listen === '::' ? '::1' : listen;
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
