/** Settings of one machine, made by `selvedge up` and handed to every child process in the variable SELVEDGE_SETTINGS. */
import type { RollbackRule } from './compare-versions.ts';
import type { Plan } from './limits.ts';
import type { PriceSheet } from './prices.ts';

export interface Settings {
  /** Absolute; holds everything durable. See `model/layout.ts`. */
  dataDir: string;
  /** Absolute and short (unix socket paths end at 107 bytes); holds sockets only, made anew at each start. */
  runDir: string;
  /** Address to bind, '127.0.0.1' by default. */
  listen: string;
  /** Never 0 here: the supervisor has chosen. */
  httpPort: number;
  httpsPort: number;
  apiPort: number;
  /** Workers are at <worker>.<subdomain>.<workersDomain>; 'workers.localhost' by default. */
  workersDomain: string;
  /** Code of this PoP, three letters or more, e.g. 'dev'. */
  colo: string;
  /** Edge processes. */
  edges: number;
  plan: Plan;
  /** CIDRs of private addresses that Workers may fetch; none by default. */
  egressAllow: string[];
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
