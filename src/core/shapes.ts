/** Documents as the API shows them: Cloudflare's field names, and never a secret's value. */
import type {
  Account,
  CustomDomain,
  Deployment,
  OriginServer,
  Route,
  Script,
  Version,
  Zone,
} from '../model/documents.ts';
import { shownBinding } from './upload/bindings.ts';

export function accountShape({ id, name, createdOn }: Account) {
  return { id, name, type: 'standard', settings: { enforce_twofactor: false }, created_on: createdOn };
}

export function zoneShape(zone: Zone, account: Account) {
  return {
    id: zone.id,
    name: zone.name,
    status: 'active',
    paused: false,
    type: 'full',
    account: { id: account.id, name: account.name },
    name_servers: [],
    created_on: zone.createdOn,
    modified_on: zone.createdOn,
    activated_on: zone.createdOn,
  };
}

export function routeShape({ id, pattern, script, zoneId, zoneName }: Route) {
  return { id, pattern, zone_id: zoneId, zone_name: zoneName, ...(script !== null && { script }) };
}

export function domainShape({ id, hostname, zoneId, zoneName, script }: CustomDomain) {
  return {
    id,
    hostname,
    zone_id: zoneId,
    zone_name: zoneName,
    service: script,
    environment: 'production',
    enabled: true,
  };
}

export function originShape({ hostname, url, zoneId, zoneName, createdOn }: OriginServer) {
  return { hostname, url, zone_id: zoneId, zone_name: zoneName, created_on: createdOn };
}

export function versionShape(version: Version, script: Script) {
  return {
    id: version.id,
    number: version.number,
    metadata: {
      created_on: version.createdOn,
      modified_on: version.createdOn,
      author_email: version.authorEmail,
      author_id: version.accountId,
      source: version.source,
      has_preview: script.previews,
    },
    annotations: version.annotations,
    resources: {
      bindings: version.bindings.map(shownBinding),
      script: {
        etag: version.etag,
        handlers: version.handlers,
        named_handlers: version.entrypoints
          .filter(({ name }) => name !== 'default')
          .map(({ name, handlers }) => ({ name, handlers })),
        last_deployed_from: version.source,
      },
      script_runtime: {
        compatibility_date: version.compatibilityDate,
        compatibility_flags: version.compatibilityFlags,
        usage_model: 'standard',
        limits: { cpu_ms: version.limits.cpuMs },
      },
    },
    startup_time_ms: version.startupTimeMs,
  };
}

export function deploymentShape(deployment: Deployment) {
  return {
    id: deployment.id,
    source: deployment.source,
    strategy: deployment.strategy,
    author_email: deployment.authorEmail,
    created_on: deployment.createdOn,
    annotations: deployment.annotations,
    versions: deployment.versions.map(({ versionId, percentage }) => ({ version_id: versionId, percentage })),
  };
}

/** A script in lists and as the answer of an upload. */
export function scriptShape(script: Script, version: Version | null) {
  return {
    id: script.name,
    tag: script.tag,
    tags: script.tags,
    etag: version?.etag ?? '',
    handlers: version?.handlers ?? [],
    has_assets: version?.assets != null,
    has_modules: version?.format === 'modules',
    compatibility_date: version?.compatibilityDate,
    compatibility_flags: version?.compatibilityFlags ?? [],
    usage_model: 'standard',
    logpush: script.logpush,
    observability: script.observability,
    tail_consumers: script.tailConsumers,
    placement: version?.placement ?? null,
    created_on: script.createdOn,
    modified_on: script.modifiedOn,
    last_deployed_from: 'wrangler',
    migration_tag: script.migrationTag ?? undefined,
  };
}

/** `settings` of a Worker: of its latest version, and of the Worker itself. */
export function shownSettings(script: Script, version: Version | null) {
  return {
    bindings: (version?.bindings ?? []).map(shownBinding),
    compatibility_date: version?.compatibilityDate,
    compatibility_flags: version?.compatibilityFlags ?? [],
    limits: version ? { cpu_ms: version.limits.cpuMs, subrequests: version.limits.subrequests } : {},
    placement: version?.placement ?? {},
    usage_model: 'standard',
    logpush: script.logpush,
    observability: script.observability,
    tags: script.tags,
    tail_consumers: script.tailConsumers,
    migration_tag: script.migrationTag ?? undefined,
  };
}
