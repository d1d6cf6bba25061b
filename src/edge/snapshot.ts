/**
 * What an edge process knows: routes, versions and running processes, kept in memory and current by the supervisor's messages. Every
 * request is decided from here; only a Worker that is not running makes a request wait for another process.
 */
import { log } from '../model/log.ts';
import type { EdgeChange, EdgeDoc, IsolateSet, Requests } from '../model/messages.ts';
import { Routes } from '../model/route.ts';
import type { Bus } from '../state/bus.ts';
import type { Instances } from './instance.ts';

export type VersionDoc = Extract<EdgeDoc, { kind: 'version' }>;

export class Snapshot {
  readonly routes: Routes;
  readonly instances: Instances;
  readonly #versions = new Map<string, VersionDoc>();

  constructor(workersDomain: string, instances: Instances) {
    this.routes = new Routes(workersDomain);
    this.instances = instances;
  }

  version(id: string): VersionDoc | undefined {
    return this.#versions.get(id);
  }

  apply(changes: EdgeChange[]): void {
    for (const change of changes) {
      this.routes.apply(change);
      if (!change.key.startsWith('version/')) continue;
      if (change.doc?.kind === 'version') this.#versions.set(change.doc.id, change.doc);
      else this.#versions.delete(change.key.slice(change.key.lastIndexOf('/') + 1));
    }
  }
}

/** Subscribes, then asks for all there is: nothing is missed in between, because messages keep their order. */
export async function followSnapshot(bus: Bus, snapshot: Snapshot): Promise<void> {
  bus.subscribe('local.docs', ({ changes }: { changes: EdgeChange[] }) => snapshot.apply(changes));
  bus.subscribe('local.isolates', (set: IsolateSet) => snapshot.instances.update(set));
  const all = (await bus.request('local.snapshot', {}, { timeoutMs: 10_000 })) as Requests['local.snapshot'][1];
  snapshot.apply(all.changes);
  for (const set of all.isolates) snapshot.instances.update(set);
  log('debug', 'snapshot taken', { documents: all.changes.length });
}
