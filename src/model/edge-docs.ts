/** Projects ledger documents to what edge and data processes may know: routing and assets, no secrets and no code. */
import type { Account, CustomDomain, OriginServer, Route, Script, Version, Zone } from './documents.ts';
import type { EdgeChange } from './messages.ts';

/** The edge's view of a ledger write, or null if it is none of the edge's business. A null value is a deletion. */
export function toEdgeChange(key: string, value: unknown): EdgeChange | null {
  const kind = key.slice(0, key.indexOf('/'));
  if (!(kind in projections)) return null;
  const project = projections[kind as keyof typeof projections] as (value: unknown) => EdgeChange['doc'];
  return { key, doc: value === null ? null : project(value) };
}

const projections = {
  account: ({ id, subdomain }: Account) => ({ kind: 'account' as const, id, subdomain }),
  zone: ({ id, name, accountId }: Zone) => ({ kind: 'zone' as const, id, name, accountId }),
  route: ({ id, zoneName, accountId, pattern, script }: Route) => ({
    kind: 'route' as const,
    id,
    zoneName,
    accountId,
    pattern,
    script,
  }),
  domain: ({ hostname, accountId, script, bucket }: CustomDomain) => ({
    kind: 'domain' as const,
    hostname,
    accountId,
    script,
    ...(bucket && { bucket: `${bucket.name}/${bucket.id}` }),
  }),
  origin: ({ hostname, accountId, url }: OriginServer) => ({ kind: 'origin' as const, hostname, accountId, url }),
  script: ({ accountId, name, workersDev, previews, deployment, aliases }: Script) => ({
    kind: 'script' as const,
    accountId,
    name,
    workersDev,
    previews,
    deployment: deployment && { id: deployment.id, versions: deployment.versions },
    aliases,
  }),
  version: ({ id, accountId, script, modules, assets }: Version) => ({
    kind: 'version' as const,
    id,
    accountId,
    script,
    hasCode: modules.length > 0,
    assets,
  }),
};
