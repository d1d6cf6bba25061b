/** From a checked configuration to the settings that the processes get. */
import { join, resolve } from 'node:path';
import { layout } from '../model/layout.ts';
import type { ListenerLimits, Settings, TlsVersion } from '../model/settings.ts';
import { type ListenAddress, parseListen } from './listen.ts';
import type { Config } from './schema.ts';

/** One socket to open for the edges. */
export interface ListenSpec {
  scheme: 'http' | 'https';
  proxyProtocol: boolean;
  address: ListenAddress;
}

/** Sockets of the edges as configured, HTTP first. */
export function listenSpecs({ listen }: Config): ListenSpec[] {
  return (['http', 'https'] as const).flatMap((scheme) =>
    listen[scheme].map((entry) => {
      const { address, proxy_protocol: proxyProtocol } =
        typeof entry === 'string' ? { address: entry, proxy_protocol: false } : entry;
      return { scheme, proxyProtocol, address: parseListen(address) };
    }),
  );
}

/** What is known only when the sockets are open and the run directory is made. */
export type Opened = Pick<
  Settings,
  'runDir' | 'listen' | 'httpPort' | 'httpsPort' | 'listeners' | 'apiListen' | 'apiPort' | 's3Listen' | 's3Port'
> & {
  /** Random: by it this start's processes know each other's words. */
  secret: string;
};

export function toSettings(config: Config, { secret, ...opened }: Opened): Settings {
  const dataDir = resolve(config.data);
  const { workers, egress, plan, tls } = config;
  const requests = config.logs.requests;
  const byAccount = Object.entries(egress.accounts).map(([id, { allow }]) => [id, [...egress.allow, ...allow]]);
  return {
    dataDir,
    ...opened,
    ...(config.metrics.token && { metricsToken: config.metrics.token }),
    workersDomain: config.workers_domain,
    colo: config.colo,
    edges: workers.edges,
    limits: camelCase(config.limits) as unknown as ListenerLimits,
    trustedProxies: config.listen.trusted_proxies,
    tls: {
      minVersion: tlsVersion(tls.min_version),
      hosts: Object.fromEntries(
        Object.entries(tls.hosts).map(([host, { min_version }]) => [
          host.toLowerCase(),
          { minVersion: tlsVersion(min_version) },
        ]),
      ),
      certificates: tls.certificates,
    },
    requestLog:
      requests === false
        ? null
        : {
            dir: requests.dir ? resolve(dataDir, requests.dir) : layout(dataDir).logs,
            maxBytes: requests.max_bytes,
            files: requests.files,
            sample: requests.sample,
          },
    ...(config.traces && { traces: { ...config.traces, secret } }),
    ...(config.prices && { prices: config.prices }),
    rollout: config.rollout,
    cache: { diskBytes: config.cache.disk_bytes, memoryBytes: config.cache.memory_bytes },
    plan: {
      cpuMs: plan.cpu_ms,
      memoryMb: plan.memory_mb,
      subrequests: plan.subrequests,
      bodyBytes: plan.body_bytes,
    },
    egressAllow: egress.allow,
    ...(byAccount.length > 0 && { egressAllowByAccount: Object.fromEntries(byAccount) }),
    isolateMemoryMb: workers.memory_mb,
    maxInstances: workers.max_instances,
    zygotes: workers.zygotes,
    sandbox: workers.sandbox,
  };
}

/** header_bytes -> headerBytes. */
function camelCase(values: Record<string, number>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase()),
      value,
    ]),
  );
}

function tlsVersion(version: '1.0' | '1.1' | '1.2' | '1.3'): TlsVersion {
  return version === '1.0' ? 'TLSv1' : `TLSv${version}`;
}

/** Where a process writes its request log. */
export function requestLogPath(dir: string, process: string): string {
  return join(dir, `requests-${process}.jsonl`);
}
