/**
 * What the data process knows of the ledger and of running processes: kept from `local.docs` and `local.isolates`, read without
 * waiting. No secrets and no code are in it.
 */
import { keys } from '../model/keys.ts';
import type { EdgeChange, EdgeDoc, IsolateRef, IsolateSet, Publications, Requests } from '../model/messages.ts';
import { type Found, Routes } from '../model/route.ts';
import type { Bus } from '../state/bus.ts';

type Doc<K extends EdgeDoc['kind']> = Extract<EdgeDoc, { kind: K }>;

export interface Directory {
  script(accountId: string, name: string): Doc<'script'> | undefined;
  /** The Worker that has the Durable Objects of a namespace, as far as is known here: they may be on their way to another one. */
  ownerOf(accountId: string, namespace: string): Doc<'script'> | undefined;
  version(accountId: string, script: string, id: string): Doc<'version'> | undefined;
  /** The running processes of a version; undefined: none known. */
  isolates(versionId: string): IsolateSet | undefined;
  /** Starts a version that is not running. Throws what the supervisor said. */
  wake(versionId: string): Promise<IsolateSet>;
  /** The process that has the Durable Objects of a namespace, started if need be. Throws what the supervisor said. */
  wakeObjects(accountId: string, namespace: string): Promise<IsolateRef>;
  /** The Worker that the edge finds for a URL; `hostname` in lower case, without a trailing dot. */
  find(hostname: string, path: string, scheme: 'http' | 'https'): Found;
  /** Does the host name lie below the workers domain? */
  isOnWorkersDomain(hostname: string): boolean;
  domain(hostname: string): Doc<'domain'> | undefined;
  /** The closest zone that holds the host name. */
  zoneOf(hostname: string): Doc<'zone'> | undefined;
  /** Where an operator said that the host's origin is. */
  origin(hostname: string): Doc<'origin'> | undefined;
  hasRouteIn(accountId: string, script: string, zoneName: string): boolean;
  /** What CF-Worker says of a script's subrequests: its one zone, else its name on the workers domain. */
  cfWorker(accountId: string, script: string): string;
  close(): void;
}

/** Subscribes and loads the snapshot; complete when it resolves. `onIsolates` is called with every new set. */
export async function openDirectory(
  bus: Bus,
  workersDomain: string,
  onIsolates: (set: IsolateSet) => void = () => {},
): Promise<Directory> {
  const docs = new Map<string, EdgeDoc>();
  const sets = new Map<string, IsolateSet>();
  const routes = new Routes(workersDomain);
  /** "account/script" -> zone name -> routes in it. */
  const zonesOfScripts = new Map<string, Map<string, number>>();
  /** Namespace of Durable Objects -> key of the Worker that has it. */
  const owners = new Map<string, string>();

  function countRoute(doc: EdgeDoc | null | undefined, by: 1 | -1): void {
    if (doc?.kind !== 'route' || doc.script === null) return;
    const key = `${doc.accountId}/${doc.script}`;
    const zones = zonesOfScripts.get(key) ?? new Map<string, number>();
    const count = (zones.get(doc.zoneName) ?? 0) + by;
    if (count > 0) zones.set(doc.zoneName, count);
    else zones.delete(doc.zoneName);
    if (zones.size > 0) zonesOfScripts.set(key, zones);
    else zonesOfScripts.delete(key);
  }

  function learnObjects(key: string, doc: EdgeDoc | null): void {
    const before = docs.get(key);
    if (before?.kind === 'script') {
      for (const namespace of before.objects ?? []) if (owners.get(namespace) === key) owners.delete(namespace);
    }
    if (doc?.kind === 'script') for (const namespace of doc.objects ?? []) owners.set(namespace, key);
  }

  function apply(change: EdgeChange): void {
    const { key, doc } = change;
    countRoute(docs.get(key), -1);
    countRoute(doc, 1);
    learnObjects(key, doc);
    if (doc === null) docs.delete(key);
    else docs.set(key, doc);
    routes.apply(change);
  }

  function learn(set: IsolateSet): void {
    if (set.isolates.length === 0) sets.delete(set.versionId);
    else sets.set(set.versionId, set);
    onIsolates(set);
  }

  // What is published while the snapshot is on its way is newer than the snapshot: it is applied after it.
  let early: (() => void)[] | null = [];
  const inOrder = (apply: () => void) => (early ? void early.push(apply) : apply());
  const unsubscribe = [
    bus.subscribe('local.docs', ({ changes }: Publications['local.docs']) =>
      inOrder(() => {
        for (const change of changes) apply(change);
      }),
    ),
    bus.subscribe('local.isolates', (set: IsolateSet) => inOrder(() => learn(set))),
  ];
  const snapshot = (await bus.request('local.snapshot', {})) as Requests['local.snapshot'][1];
  for (const change of snapshot.changes) apply(change);
  for (const set of snapshot.isolates) learn(set);
  for (const apply of early) apply();
  early = null;

  function script(accountId: string, name: string): Doc<'script'> | undefined {
    return docs.get(keys.script(accountId, name)) as Doc<'script'> | undefined;
  }

  return {
    script,
    ownerOf(accountId, namespace) {
      const owner = docs.get(owners.get(namespace) ?? '') as Doc<'script'> | undefined;
      return owner?.accountId === accountId ? owner : undefined;
    },
    version: (accountId, name, id) => docs.get(keys.version(accountId, name, id)) as Doc<'version'> | undefined,
    isolates: (versionId) => sets.get(versionId),
    async wake(versionId) {
      const set = (await bus.request('local.wake', { versionId }, { timeoutMs: 15_000 })) as IsolateSet;
      return set;
    },
    async wakeObjects(accountId, namespace) {
      const asked: Requests['local.objects'][0] = { accountId, namespace };
      return (await bus.request('local.objects', asked, { timeoutMs: 15_000 })) as IsolateRef;
    },
    find: (hostname, path, scheme) => routes.find(hostname, path, scheme),
    isOnWorkersDomain: (hostname) => hostname.endsWith(`.${workersDomain}`),
    domain: (hostname) => docs.get(keys.domain(hostname)) as Doc<'domain'> | undefined,
    zoneOf(hostname) {
      for (let name = hostname; name.includes('.'); name = name.slice(name.indexOf('.') + 1)) {
        const zone = docs.get(keys.zone(name));
        if (zone) return zone as Doc<'zone'>;
      }
      return undefined;
    },
    origin: (hostname) => docs.get(keys.origin(hostname)) as Doc<'origin'> | undefined,
    hasRouteIn: (accountId, name, zoneName) => zonesOfScripts.get(`${accountId}/${name}`)?.has(zoneName) ?? false,
    cfWorker(accountId, name) {
      const zones = zonesOfScripts.get(`${accountId}/${name}`);
      const [zone] = zones?.keys() ?? [];
      if (zone && zones?.size === 1) return zone;
      const account = docs.get(keys.account(accountId)) as Doc<'account'> | undefined;
      return `${name}.${account?.subdomain ?? 'unknown'}.${workersDomain}`;
    },
    close() {
      for (const stop of unsubscribe) stop();
    },
  };
}
