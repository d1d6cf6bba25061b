/** The configuration of `selvedge up`: the file's, and the command line's options before it. */
import { resolve } from 'node:path';
import { parseListen, printListen } from '../config/listen.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';

export interface UpOptions {
  config?: string;
  data?: string;
  listen?: string[];
  http?: number;
  https?: number;
  apiListen?: string;
  api?: number;
  s3Listen?: string;
  s3?: number;
  workersDomain?: string;
  colo?: string;
  edges?: number;
  allowEgress?: string[];
  isolateMemory?: number;
  maxInstances?: number;
  zygotes?: number;
  sandbox?: Config['workers']['sandbox'];
}

/** Throws ConfigError. */
export function configOf(options: UpOptions): Config {
  const config = loadConfig(options.config);
  const data = options.data ?? (options.config === undefined ? process.env.SELVEDGE_DATA : undefined);
  config.data = resolve(data ?? config.data);
  const { listen, workers } = config;
  for (const scheme of ['http', 'https'] as const) {
    const port = options[scheme];
    if (options.listen === undefined && port === undefined) continue;
    listen[scheme] = options.listen
      ? options.listen.map((host) => printListen({ kind: 'tcp', host, port: port ?? DEFAULT_PORTS[scheme] }))
      : withPort(listen[scheme], port!);
  }
  for (const [name, host] of [
    ['api', options.apiListen],
    ['s3', options.s3Listen],
  ] as const) {
    const address = parseListen(listen[name]);
    if (address.kind !== 'tcp') continue;
    listen[name] = printListen({ ...address, host: host ?? address.host, port: options[name] ?? address.port });
  }
  config.workers_domain = options.workersDomain ?? config.workers_domain;
  config.colo = options.colo ?? config.colo;
  config.egress.allow.push(...(options.allowEgress ?? []));
  workers.edges = options.edges ?? workers.edges;
  workers.memory_mb = options.isolateMemory ?? workers.memory_mb;
  workers.max_instances = options.maxInstances ?? workers.max_instances;
  workers.zygotes = options.zygotes ?? workers.zygotes;
  workers.sandbox = options.sandbox ?? workers.sandbox;
  refuseTwins(config);
  return config;
}

/** Two listeners with one address would be told to be "another program" by the system. */
function refuseTwins({ listen }: Config): void {
  const seen = new Map<string, string>();
  const all = (['http', 'https', 'api', 's3'] as const).flatMap((name) => {
    const entries = name === 'api' || name === 's3' ? [listen[name]] : listen[name];
    return entries.map((entry) => ({ name, text: typeof entry === 'string' ? entry : entry.address }));
  });
  for (const { name, text } of all) {
    const address = parseListen(text);
    if (address.kind === 'tcp' && address.port === 0) continue;
    const twin = seen.get(printListen(address));
    if (twin) throw new Error(`${text} is given to both --${twin} and --${name}: choose different ones`);
    seen.set(printListen(address), name);
  }
}

const DEFAULT_PORTS = { http: 8080, https: 8443 };

/** The same addresses with another port; what has none stays. */
function withPort(entries: Config['listen']['http'], port: number): Config['listen']['http'] {
  const change = (text: string) => {
    const address = parseListen(text);
    return address.kind === 'tcp' ? printListen({ ...address, port }) : text;
  };
  return entries.map((entry) =>
    typeof entry === 'string' ? change(entry) : { ...entry, address: change(entry.address) },
  );
}
