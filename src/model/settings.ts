/** Settings of one machine, made by `selvedge up` and handed to every child process in the variable SELVEDGE_SETTINGS. */
import type { RollbackRule } from './compare-versions.ts';
import type { Plan } from './limits.ts';
import type { PriceSheet } from './prices.ts';

/** One listening socket of the edges; the supervisor holds it and every edge process accepts from it. */
export interface ListenerSettings {
  scheme: 'http' | 'https';
  /** Each connection begins with a PROXY protocol header, version 1 or 2, of the load balancer before it. */
  proxyProtocol: boolean;
  /** As in the configuration, for messages: "0.0.0.0:443", "unix:/run/selvedge/http.sock", "systemd:https". */
  name: string;
}

/** Where the listening sockets begin in an edge process: behind standard input, output, error and the channel to its parent. */
export const FIRST_LISTENER_FD = 4;

/** What clients may take; sizes in bytes, times in ms. Named in `config/schema.ts`, where each has its meaning and its default. */
export interface ListenerLimits {
  headerBytes: number;
  headerCount: number;
  /** Of all edge processes together. */
  connections: number;
  connectionsPerAddress: number;
  requestsPerConnection: number;
  handshakeTimeoutMs: number;
  headersTimeoutMs: number;
  idleTimeoutMs: number;
  requestTimeoutMs: number;
  stallTimeoutMs: number;
  minRateBytes: number;
  http2Streams: number;
  http2ResetsPerMinute: number;
  http2ControlFramesPerMinute: number;
  websocketMessageBytes: number;
  websocketIdleMs: number;
  websocketPingMs: number;
  certificatesPerMinute: number;
}

export type TlsVersion = 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3';

export interface TlsSettings {
  minVersion: TlsVersion;
  /** Exceptions by host name, "*.example.com" for all names one label below. */
  hosts: Record<string, { minVersion: TlsVersion }>;
  /** Absolute paths of PEM files; hosts that no certificate names get one of the local authority. */
  certificates: { cert: string; key: string }[];
}

export interface RequestLogSettings {
  /** Absolute; one file per edge process: `requests-<process>.jsonl`. */
  dir: string;
  maxBytes: number;
  /** Rotated files kept beside the current one. */
  files: number;
  /** Host name ("*" for all others) -> share of its requests that are written, 0 to 1. */
  sample: Record<string, number>;
}

export interface TraceSettings {
  /** Whole URL of the collector for OTLP over HTTP. */
  endpoint: string;
  /** Sent with each export, for authorisation. */
  headers: Record<string, string>;
  /** Share of the traces that begin here which are recorded, 0 to 1. */
  sample: number;
  /** By it the edge knows a `traceparent` of this machine's own subrequests; random, made at each start. */
  secret: string;
}

export interface Settings {
  /** Absolute; holds everything durable. See `model/layout.ts`. */
  dataDir: string;
  /** Absolute and short (unix socket paths end at 107 bytes); holds sockets only, made anew at each start. */
  runDir: string;
  /** Address and ports at which this machine reaches its own edge; the ports are never 0 here. */
  listen: string;
  httpPort: number;
  httpsPort: number;
  /** Sockets of the edges, in the order in which their descriptors are handed over. */
  listeners: ListenerSettings[];
  /** Address and port of the control API. */
  apiListen: string;
  apiPort: number;
  /** Address and port of the S3 API. */
  s3Listen: string;
  s3Port: number;
  /** Lets a scraper from elsewhere read /metrics. */
  metricsToken?: string;
  /** Workers are at <worker>.<subdomain>.<workersDomain>; 'workers.localhost' by default. */
  workersDomain: string;
  /** Code of this PoP, three letters or more, e.g. 'dev'. */
  colo: string;
  /** Edge processes. */
  edges: number;
  limits: ListenerLimits;
  /** CIDRs of proxies whose word on the client's address is taken. */
  trustedProxies: string[];
  tls: TlsSettings;
  requestLog: RequestLogSettings | null;
  /** The Cache API. */
  cache: { diskBytes: number; memoryBytes: number };
  /** None without it. */
  traces?: TraceSettings;
  plan: Plan;
  /** CIDRs of private addresses that Workers may fetch; none by default. */
  egressAllow: string[];
  /** The same for the Workers of one account, by its id. */
  egressAllowByAccount?: Record<string, string[]>;
  /** Memory for all isolate processes together, MB; the least recently used are evicted above it. */
  isolateMemoryMb: number;
  /** Processes that one stateless version may have under load; cores by default. */
  maxInstances?: number;
  /** Turns usage into bills; none without it. */
  prices?: PriceSheet;
  /** When a version that gets a part of the traffic is worse than the other; DEFAULT_RULE without it. */
  rollout?: RollbackRule;
  /** Zygotes kept started. */
  zygotes: number;
  /** 'auto' takes the strongest that works. */
  sandbox: 'auto' | 'bubblewrap' | 'namespaces' | 'plain';
}

/** Reads the settings in a child process. */
export function settingsFromEnv(): Settings {
  const text = process.env.SELVEDGE_SETTINGS;
  if (!text) throw new Error('SELVEDGE_SETTINGS is not set: this file is started by `selvedge up`');
  return JSON.parse(text) as Settings;
}
