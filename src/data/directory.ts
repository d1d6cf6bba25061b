/**
 * What the data process knows of the ledger and of running processes: kept from `local.docs` and `local.isolates`, read without
 * waiting. No secrets and no code are in it.
 */
import { keys } from '../model/keys.ts';
import type { EdgeChange, EdgeDoc, IsolateSet, Publications, Requests } from '../model/messages.ts';
import type { Bus } from '../state/bus.ts';

type Doc<K extends EdgeDoc['kind']> = Extract<EdgeDoc, { kind: K }>;

export interface Directory {
  script(accountId: string, name: string): Doc<'script'> | undefined;
  version(accountId: string, script: string, id: string): Doc<'version'> | undefined;
  /** The running processes of a version; undefined: none known. */
  isolates(versionId: string): IsolateSet | undefined;
  /** Starts a version that is not running. Throws what the supervisor said. */
  wake(versionId: string): Promise<IsolateSet>;
  /** Does this machine answer for the host name (a Worker on the workers domain, or a custom domain)? */
  isServedHere(hostname: string): boolean;
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
  /** Subdomain -> account id. */
  const subdomains = new Map<string, string>();

  function apply({ key, doc }: EdgeChange): void {
    const old = docs.get(key);
    if (old?.kind === 'account') subdomains.delete(old.subdomain);
    if (doc === null) docs.delete(key);
    else docs.set(key, doc);
    if (doc?.kind === 'account') subdomains.set(doc.subdomain, doc.id);
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

  /** `<worker>.<subdomain>` of the workers domain, or a preview `<prefix>-<worker>.<subdomain>`. */
  function isOnWorkersDomain(hostname: string): boolean {
    const suffix = `.${workersDomain}`;
    if (!hostname.endsWith(suffix)) return false;
    const [label = '', subdomain = '', ...more] = hostname.slice(0, -suffix.length).split('.');
    const accountId = subdomains.get(subdomain);
    if (!accountId || more.length > 0) return false;
    if (script(accountId, label)) return true;
    for (let at = label.indexOf('-'); at !== -1; at = label.indexOf('-', at + 1)) {
      if (script(accountId, label.slice(at + 1))?.previews) return true;
    }
    return false;
  }

  return {
    script,
    version: (accountId, name, id) => docs.get(keys.version(accountId, name, id)) as Doc<'version'> | undefined,
    isolates: (versionId) => sets.get(versionId),
    async wake(versionId) {
      const set = (await bus.request('local.wake', { versionId }, { timeoutMs: 15_000 })) as IsolateSet;
      return set;
    },
    isServedHere: (hostname) => docs.has(keys.domain(hostname)) || isOnWorkersDomain(hostname),
    cfWorker(accountId, name) {
      const zones = new Set<string>();
      for (const doc of docs.values()) {
        if (doc.kind === 'route' && doc.accountId === accountId && doc.script === name) zones.add(doc.zoneName);
      }
      const [zone] = zones;
      if (zone && zones.size === 1) return zone;
      const account = docs.get(keys.account(accountId)) as Doc<'account'> | undefined;
      return `${name}.${account?.subdomain ?? 'unknown'}.${workersDomain}`;
    },
    close() {
      for (const stop of unsubscribe) stop();
    },
  };
}
