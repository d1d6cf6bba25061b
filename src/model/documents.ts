/**
 * The documents of the ledger: everything that Selvedge knows durably, as plain JSON.
 * Keys are in `keys.ts`. A document is written by the core only; a PoP reads. Times are ISO 8601 strings in UTC.
 */

/** A tenant. `subdomain` is its label under the workers domain: `<worker>.<subdomain>.<workers domain>`. */
export interface Account {
  id: string;
  name: string;
  subdomain: string;
  createdOn: string;
}

/** An API token. Only the SHA-256 of its value is kept; the key of the document is that hash. */
export interface Token {
  id: string;
  accountId: string;
  name: string;
  createdOn: string;
  expiresOn: string | null;
  revokedOn: string | null;
  /** A token for R2's objects alone, over S3; absent: the whole account. */
  r2?: { access: 'read' | 'write'; buckets: string[] | null };
}

/** A domain under management. A name belongs to one account; so do all names below it. */
export interface Zone {
  id: string;
  name: string;
  accountId: string;
  createdOn: string;
}

/** host/path pattern -> Worker. `script: null` is Cloudflare's "no Worker here" route. */
export interface Route {
  id: string;
  zoneId: string;
  zoneName: string;
  accountId: string;
  pattern: string;
  script: string | null;
}

/** A host name that belongs wholly to one Worker, or to the objects of one R2 bucket (then `script` is ''). */
export interface CustomDomain {
  id: string;
  hostname: string;
  zoneId: string;
  zoneName: string;
  accountId: string;
  script: string;
  /** `id`: a bucket that is made anew under the name is not meant. */
  bucket?: { name: string; id: string };
  /** It was not given but made, below the workers domain. */
  managed?: boolean;
  createdOn: string;
}

/**
 * Where the origin of a host is: subrequests to `hostname` connect to the address in `url` (scheme, host, port; no path), and keep
 * `hostname` as their Host. Key: `keys.origin`. Without one, DNS says where the origin is.
 */
export interface OriginServer {
  zoneId: string;
  zoneName: string;
  accountId: string;
  hostname: string;
  url: string;
  createdOn: string;
}

export interface Schedule {
  cron: string;
  createdOn: string;
  modifiedOn: string;
}

/** Which versions get which share of the traffic. Percentages add up to 100. */
export interface Deployment {
  id: string;
  source: string;
  strategy: 'percentage';
  authorEmail: string;
  createdOn: string;
  annotations: Record<string, string>;
  versions: { versionId: string; percentage: number }[];
}

/** A deployment in steps: a version gets more and more of the traffic. */
export interface Rollout {
  id: string;
  accountId: string;
  script: string;
  /** The version that is brought in, and the one that has the rest of the traffic. */
  versionId: string;
  oldVersionId: string;
  /** Percentages rise; each lasts for its minutes, then comes the next. */
  steps: { percentage: number; minutes: number }[];
  /** Index of the current step, and the deployment that it made. */
  step: number;
  deploymentId: string;
  /** When the next step is due; null if there is none. */
  nextOn: string | null;
  state: 'running' | 'finished' | 'stopped' | 'rolled-back';
  /** Why it is stopped or rolled back. */
  reason: string | null;
  autoRollback: boolean;
  createdOn: string;
  modifiedOn: string;
}

/**
 * A Worker. This document is the point of commit: a deployment is live when `deployment` names it.
 * `deployment` is the active one, whole; older ones are documents of their own (`keys.deployment`).
 */
export interface Script {
  accountId: string;
  name: string;
  /** 32 hex digits; a deleted and recreated script gets another. */
  tag: string;
  createdOn: string;
  modifiedOn: string;
  tags: string[];
  workersDev: boolean;
  previews: boolean;
  schedules: Schedule[];
  observability: Record<string, unknown> | null;
  logpush: boolean;
  tailConsumers: { service: string }[];
  migrationTag: string | null;
  /** Its Durable Objects after its last migration; absent if it never had any. */
  objects?: WorkerObjects;
  /** How many versions were ever made: the number of the latest one. */
  versionCount: number;
  latestVersionId: string | null;
  /** Preview alias -> version id (annotation `workers/alias`). */
  aliases: Record<string, string>;
  deployment: Deployment | null;
}

export type ModuleType = 'esm' | 'commonjs' | 'wasm' | 'data' | 'text' | 'json' | 'python' | 'python-requirement';

/** One module of a version; its bytes are the blob `hash`. `name` is the name that other modules import. */
export interface ModuleRef {
  name: string;
  type: ModuleType;
  hash: string;
  sizeBytes: number;
}

/** A binding with everything resolved (no `inherit`). Secrets carry `sealed` (vault format), never text. */
export type Binding = { name: string } & (
  | { type: 'plain_text'; text: string }
  | { type: 'json'; json: unknown }
  | { type: 'secret_text'; sealed: string }
  | { type: 'service'; service: string; entrypoint?: string; environment?: string; props?: unknown }
  | { type: 'assets' }
  | { type: 'version_metadata' }
  | { type: 'kv_namespace'; namespaceId: string }
  | { type: 'd1'; databaseId: string }
  /** `deliveryDelay`: seconds, instead of what the queue says. */
  | { type: 'queue'; queueId: string; queueName: string; deliveryDelay?: number }
  | { type: 'r2_bucket'; bucket: string; jurisdiction?: string }
  | { type: 'analytics_engine'; dataset: string }
  /** A class of the Worker itself, or of another one of the account. */
  | { type: 'durable_object_namespace'; className: string; other?: { script: string; namespaceId: string } }
  | { type: 'wasm_module' | 'text_blob' | 'data_blob'; part: string }
);

/** A binding behind which a product of `src/products` answers. */
export type ProductBinding = Extract<
  Binding,
  { type: 'kv_namespace' | 'd1' | 'queue' | 'r2_bucket' | 'analytics_engine' }
>;

/** The Durable Objects of one class of a Worker. */
export interface ObjectNamespace {
  /** 32 hex digits: the runtime's unique key, and the name of their directory. */
  id: string;
  className: string;
  /** Their storage is SQLite with `storage.sql`. */
  sqlite: boolean;
}

export interface WorkerObjects {
  /** 32 hex digits: name of the directory that holds all of them. */
  storage: string;
  namespaces: ObjectNamespace[];
}

/** Static assets of a version. `manifest` is the hash of a blob: JSON of `AssetManifest`. */
export interface VersionAssets {
  manifest: string;
  config: AssetConfig;
}

/** Path ("/index.html", decoded, begins with a slash) -> file. */
export type AssetManifest = Record<string, AssetEntry>;
export interface AssetEntry {
  /** Hash of the blob with the bytes. */
  hash: string;
  /** What the client called it (32 hex digits of BLAKE3); strong ETag. */
  etag: string;
  sizeBytes: number;
  contentType: string | null;
}

export interface AssetConfig {
  html_handling: 'auto-trailing-slash' | 'force-trailing-slash' | 'drop-trailing-slash' | 'none';
  not_found_handling: 'none' | '404-page' | 'single-page-application';
  /** true: always; a list: only for these patterns (`!` negates); false: assets first. */
  run_worker_first: boolean | string[];
  /** URL prefix below which the assets are: "/" or "/a/b/". */
  base_path?: string;
  /** Compatibility flag assets_navigation_prefers_asset_serving of the version; absent is true (its default since 2025-04-01). */
  navigation_prefers_assets?: boolean;
  /** Raw text of the `_headers` and `_redirects` files. */
  _headers?: string;
  _redirects?: string;
}

/** Limits of one version after plan defaults and operator maxima. */
export interface VersionLimits {
  cpuMs: number;
  memoryMb: number;
  subrequests: number;
}

export interface EntrypointInfo {
  name: string;
  kind: 'worker' | 'object' | 'durable-object' | 'workflow';
  handlers: string[];
}

/** A version is immutable: code, bindings, secrets, limits and assets. `modules` is empty for assets only. */
export interface Version {
  id: string;
  /** Not a user's: what the process runs is Selvedge's own. Never in the ledger. */
  system?: 'd1';
  accountId: string;
  script: string;
  number: number;
  createdOn: string;
  authorEmail: string;
  source: string;
  annotations: Record<string, string>;
  format: 'modules' | 'service-worker' | 'assets-only';
  /** Name of the first module to run; '' for assets only. */
  mainModule: string;
  modules: ModuleRef[];
  bindings: Binding[];
  compatibilityDate: string;
  compatibilityFlags: string[];
  limits: VersionLimits;
  placement: Record<string, unknown> | null;
  assets: VersionAssets | null;
  /** The Durable Objects that the Worker runs; absent if it has none. */
  objects?: WorkerObjects;
  /** Hash over the modules, shown as `etag`. */
  etag: string;
  /** What the start of the script told: handlers of the default export, named exports, start-up time. */
  handlers: string[];
  entrypoints: EntrypointInfo[];
  startupTimeMs: number;
}
