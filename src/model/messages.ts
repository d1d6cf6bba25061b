/**
 * What the processes say to each other over the Bus: subject -> message. "local." subjects stay on the machine.
 *
 *   core   --pop.inspect/applied/tail-->  supervisor  --pop.traffic--> core
 *   edge   --local.snapshot/wake/verdict/certificate-->  supervisor  --local.docs/isolates--> edge, data
 *   supervisor --local.attach/detach/gone--> data        edge, data --local.load/released--> supervisor
 *   data, edge --tail.<account>.<script>--> core (tail sessions)
 */
import type { Deployment, EntrypointInfo, ProductBinding, Version, VersionAssets } from './documents.ts';

/** What edge and data processes need of the ledger: no secrets, no code. Made by `model/edge-docs.ts`. */
export type EdgeDoc =
  | { kind: 'account'; id: string; subdomain: string }
  | {
      kind: 'script';
      accountId: string;
      name: string;
      workersDev: boolean;
      previews: boolean;
      deployment: Pick<Deployment, 'id' | 'versions'> | null;
      aliases: Record<string, string>;
      /** Ids of the namespaces of its Durable Objects. */
      objects?: string[];
    }
  | {
      kind: 'version';
      id: string;
      accountId: string;
      script: string;
      /** false: assets only, there is no process to ask. */
      hasCode: boolean;
      assets: VersionAssets | null;
    }
  | { kind: 'zone'; id: string; name: string; accountId: string }
  | { kind: 'route'; id: string; zoneName: string; accountId: string; pattern: string; script: string | null }
  /** `bucket`: "<name>/<id>". */
  | { kind: 'domain'; hostname: string; accountId: string; script: string; bucket?: string }
  | { kind: 'origin'; hostname: string; accountId: string; url: string };

/** `key` is the ledger key; `doc: null` is a deletion. */
export interface EdgeChange {
  key: string;
  doc: EdgeDoc | null;
}

/** One running process of a version. Paths are absolute unix socket paths. */
export interface IsolateRef {
  id: string;
  /** HTTP to the default entrypoint. */
  main: string;
  /** Entrypoint name ("default" included) -> socket that speaks HTTP and Cap'n Proto RPC (service bindings). */
  rpc: Record<string, string>;
  /** Namespace id of its Durable Objects -> socket for other Workers that bind them; absent if it has none. */
  objects?: Record<string, string>;
}

/** The processes that take new requests of a version; empty: not running, ask with `local.wake`. Replaces what was known. */
export interface IsolateSet {
  versionId: string;
  isolates: IsolateRef[];
  /** Somebody tails the script: report requests that a killed process held. */
  tailed: boolean;
}

/** Why a process ended. `exception`: crashed by itself. `drained`: replaced or evicted in order. */
export type Verdict = 'exceededCpu' | 'exceededMemory' | 'exception' | 'drained' | 'unknown';

/** `local.attach`: the data process opens the sockets of a new isolate process in `dir` before the process starts. */
export interface Attach {
  isolate: string;
  /** Absolute path of the directory that the process sees as /s. Sockets made here must be usable by another uid (0666). */
  dir: string;
  accountId: string;
  script: string;
  versionId: string;
  /**
   * Files `svc-<index>.sock` and `obj-<index>.sock`: relays to the current process of another Worker of the same account, to an entrypoint
   * or to the Durable Objects of a namespace (`object`, its id), whichever Worker has them by now.
   */
  services: { socket: string; script: string; entrypoint: string; object?: string }[];
  assets: VersionAssets | null;
  /** Absolute path of the directory of the process's own sockets. */
  own: string;
  /** Its bindings to products. */
  bindings: ProductBinding[];
  /** Subrequests that one request may make. */
  subrequests: number;
}

/** As wrangler prints it (Cloudflare's trace item). Published on `tail.<accountId>.<script>`. */
export interface TailEvent {
  outcome: string;
  scriptName: string;
  scriptVersion: { id: string };
  entrypoint?: string;
  diagnosticsChannelEvents: unknown[];
  exceptions: { name: string; message: string; stack?: string; timestamp: number }[];
  logs: { message: unknown[]; level: string; timestamp: number }[];
  eventTimestamp: number;
  event: Record<string, unknown> | null;
  cpuTime?: number;
  wallTime?: number;
  truncated: boolean;
  executionModel: string;
}

export type InspectResult =
  | { ok: true; startupTimeMs: number; handlers: string[]; entrypoints: EntrypointInfo[] }
  /** `message`: what the runtime said, with file:line:column where there is one. */
  | { ok: false; message: string };

export interface IsolateStatus {
  id: string;
  pid: number;
  accountId: string;
  script: string;
  versionId: string;
  state: 'starting' | 'running' | 'draining';
  cpuMs: number;
  memoryBytes: number;
  openRequests: number;
  uptimeMs: number;
}

/** Sums since the machine started, of all its edges. */
export interface PopTraffic {
  requests: number;
  errors: number;
  /** Whole requests, as in `model/histogram.ts`. */
  latency: number[];
  /** Open now. */
  connections: number;
  webSockets: number;
  limitHits: Record<string, number>;
}

/** Cron events of one trigger that came due while the machine was down. */
export interface MissedEvents {
  accountId: string;
  script: string;
  cron: string;
  count: number;
  /** ISO 8601. */
  lastOn: string;
}

export interface PopStatus {
  colo: string;
  sequence: number;
  sandbox: string;
  zygotes: number;
  /** `ready` is false while it starts. */
  processes: { name: string; pid: number; restarts: number; ready: boolean }[];
  /** The machine is being stopped. */
  draining: boolean;
  traffic: PopTraffic;
  /** Before this start. */
  missed: MissedEvents[];
  isolates: IsolateStatus[];
}

/** What one edge process answered for one version since its last report. */
export interface VersionTraffic {
  versionId: string;
  accountId: string;
  script: string;
  requests: number;
  /** Of these: exceptions, exceeded limits, and answers of 500 and above. */
  errors: number;
  /** Bodies from and to eyeballs. */
  bytesIn: number;
  bytesOut: number;
  /** Sum of the requests' durations, first byte of the request to last byte of the answer. */
  durationMs: number;
  /** Time to the answer's head, as in `model/histogram.ts`. */
  latency: number[];
  /**
   * true: requests that named their version (preview host, `Cloudflare-Workers-Version-Overrides`), in an entry of their own. They are metered, but
   * not compared: otherwise whoever sends failing requests to one version could have it rolled back.
   */
  chosen?: boolean;
}

/** What one edge process did since its last report, and how it is now. */
export interface EdgeReport {
  from: string;
  connections: number;
  webSockets: number;
  /** Name of a limit -> how often it was hit since the last report. */
  limitHits: Record<string, number>;
  /** Status (0: none was sent) and outcome -> requests. */
  statuses: Record<number, number>;
  outcomes: Record<string, number>;
  /** Times of the stages, as in `model/histogram.ts`: until a process is there, its answer, the whole. */
  stages: { wake: number[]; worker: number[]; total: number[] };
}

/** What one Worker sent outward since the last report: over all its processes here. Bytes of what does not leave the machine are not in it. */
export interface ScriptEgress {
  accountId: string;
  script: string;
  /** fetch(), WebSockets and connect(), also those that were refused. */
  subrequests: number;
  /** Of those: above a limit, in a loop, or to an address or port that Workers may not reach. */
  refused: number;
  /** Heads and bodies (of sockets: all bytes), before TLS. */
  bytesOut: number;
  bytesIn: number;
}

/** What was used of a product since the last report, by the product's own names. `resource`: id of what it is counted for. */
export interface ProductUse {
  product: string;
  accountId: string;
  resource: string;
  amounts: Record<string, number>;
}

/** Publications: subject -> message. */
export interface Publications {
  'local.docs': { changes: EdgeChange[] };
  'local.isolates': IsolateSet;
  /** Every 200 ms if something changed: per isolate process, requests open now and started since the last report. */
  /** Who sends requests to isolates is to say now what it has not reported yet. */
  'local.load-wanted': Record<string, never>;
  'local.load': { from: string; isolates: Record<string, { open: number; started: number }> };
  /** Every second if something was answered: deltas, for metering, metrics and the comparison of versions. */
  'local.traffic': { from: string; versions: VersionTraffic[] };
  /** The key of TLS session tickets has changed: base64 of 48 bytes. */
  'local.ticket-keys': { keys: string };
  /** Every second, for metrics. */
  'local.edge': EdgeReport;
  /** What a PoP's edges answered for versions that share their Worker's traffic with another, for the core's comparison. */
  'pop.traffic': { pop: string; versions: VersionTraffic[] };
  /** Every second if a Worker asked the internet for something: deltas, for metering and metrics. */
  'local.egress': { from: string; scripts: ScriptEgress[] };
  /** The event for which a process was kept is over. */
  'local.unhold': { hold: string };
  /** A queue, its consumer or its messages were changed by the core. */
  'local.queue-changed': { queueId: string };
  /** Every second if something was used: deltas, for metering. */
  'local.product-usage': { from: string; usage: ProductUse[] };
  /** `from` has no request left on a process that is no longer in its set. */
  'local.released': { from: string; isolate: string };
  /** An edge or data process ended: what it had open is not any more, also if another of that name takes its place. */
  'local.gone': { name: string };
}

/** Requests: subject -> [message, answer]. */
export interface Requests {
  /** First subscribe to local.docs and local.isolates, then ask: nothing is missed. */
  'local.snapshot': [Record<string, never>, { changes: EdgeChange[]; isolates: IsolateSet[] }];
  /** Starts a version that is not running; answers when it takes requests. Fails with a message. */
  'local.wake': [{ versionId: string }, IsolateSet];
  /** The process that has the Durable Objects of a namespace, started if there is none. Fails with a message, also if nobody has them. */
  'local.objects': [{ accountId: string; namespace: string }, IsolateRef];
  /**
   * Keeps a process of the Worker for one event until `local.unhold`, or until `from` ends. `socket`: where it takes events
   * (`system-workers/isolate.js`). Fails with a message if the Worker does not start or has no such handler, or if it does not start within
   * `withinMs`: then nobody is there who would let it go.
   */
  'local.hold': [
    { accountId: string; script: string; event: 'queue'; from: string; withinMs: number },
    { hold: string; isolate: string; socket: string },
  ];
  /** Why did this process drop my request? Answers at once or after the watchdog has decided (at most 500 ms). */
  /** Keys of a KV namespace were written (null: all): isolate processes that keep them have dropped them when this is answered. */
  'local.kv-written': [{ namespace: string; keys: string[] | null }, Record<string, never>];
  /** The process of a D1 database, started if there is none; null if there is no such database. */
  'local.d1-wake': [{ accountId: string; id: string }, IsolateRef | null];
  /** A D1 database's process has ended and its files are those of the directory `from`, which is moved, when this is answered. */
  'local.d1-restore': [{ id: string; from: string }, Record<string, never>];
  /** The process of a deleted D1 database has ended and its files are gone when this is answered. */
  'local.d1-remove': [{ id: string }, Record<string, never>];
  /** `killedAt`: when we killed it, in `machineMs`; what was sent to it later was never seen by the Worker. */
  'local.verdict': [{ isolate: string }, { verdict: Verdict; killedAt: number | null }];
  /** PEM of a leaf certificate (with chain) and key for a host that is served here; null for others. */
  'local.certificate': [{ serverName: string }, { cert: string; key: string } | null];
  'local.ticket-keys': [Record<string, never>, { keys: string }];
  'local.attach': [Attach, Record<string, never>];
  'local.detach': [{ isolate: string }, Record<string, never>];
  /** Starts the script in a process of its own and tells what it exports, or why it does not start. */
  'pop.inspect': [{ version: Version }, InspectResult];
  /** Answers when this PoP has applied the ledger up to `sequence` and what it deploys takes requests. */
  'pop.applied': [{ sequence: number }, Record<string, never>];
  /** Turns tail events of a script on for `seconds` from now (0: off). Answers when new requests are traced. */
  'pop.tail': [{ accountId: string; script: string; seconds: number }, Record<string, never>];
  /** What was used of a resource, in UTC hours ("2026-11-21T07") from and to, both included: by hour. */
  'pop.product-usage': [
    { product: string; accountId: string; resource?: string; from: string; to: string },
    { resource: string; hour: string; amounts: Record<string, number> }[],
  ];
  /** All metrics, in Prometheus' text format. */
  'pop.metrics': [Record<string, never>, { text: string }];
  'pop.status': [Record<string, never>, PopStatus];
}
