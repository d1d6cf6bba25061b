/**
 * Host and path -> Worker, as Cloudflare documents it: custom domains and routes by the most specific pattern, then
 * `<worker>.<subdomain>.<workers domain>`, then preview hosts. https://developers.cloudflare.com/workers/configuration/routing/routes/
 *
 * A pattern is `[http://|https://]host[/path]`; `*` may begin the host and end the path. Indexed by host and by path prefix, so that
 * finding one among 100,000 costs what finding one among ten does.
 */
import type { EdgeChange, EdgeDoc } from './messages.ts';

/** What a request is for. `versionId` is set for previews: no deployment decides. */
export interface Target {
  accountId: string;
  script: string;
  versionId?: string;
  /** No Worker's: the objects of this R2 bucket ("<name>/<id>"), or '' for the S3 API itself. */
  bucket?: string;
}

/** The S3 API: `s3.<workers domain>`, and a bucket's name before that. No account's subdomain is called so. */
export const S3_LABEL = 's3';
const S3_API: Target = { accountId: '', script: '', bucket: '' };

/** `null`: a route says that no Worker answers here. `undefined`: nobody owns this host. */
export type Found = Target | null | undefined;

type Scheme = 'http' | 'https' | 'any';
type Doc<K extends EdgeDoc['kind']> = Extract<EdgeDoc, { kind: K }>;

interface Pattern {
  scheme: Scheme;
  /** Host begins with `*`: `host` is what has to come behind it. */
  wildHost: boolean;
  host: string;
  wildPath: boolean;
  path: string;
}

/** Splits a route pattern that the control API has accepted. */
export function parsePattern(pattern: string): Pattern {
  const match = /^(?:(https?):\/\/)?([^/]*)(\/.*)?$/.exec(pattern);
  const host = (match?.[2] ?? '').toLowerCase();
  const path = match?.[3] ?? '/';
  return {
    scheme: (match?.[1] as Scheme | undefined) ?? 'any',
    wildHost: host.startsWith('*'),
    host: host.replace(/^\*/, ''),
    wildPath: path.endsWith('*'),
    path: path.replace(/\*$/, ''),
  };
}

/** The routes of one host (or host suffix), by path. */
class PathIndex {
  /**
   * Where the patterns count: `*example.com` begins in the middle of a label and must not catch myexample.com, which is somebody else's
   * (Cloudflare looks for the zone first).
   */
  readonly zone: string;
  readonly #exact = new Map<string, Map<Scheme, Target | null>>();
  readonly #prefixes = new Map<string, Map<Scheme, Target | null>>();
  /** Lengths of the prefixes, longest first: one map look-up each. Null until they are needed. */
  #lengths: number[] | null = null;

  constructor(zone: string) {
    this.zone = zone;
  }

  holds(host: string): boolean {
    return host === this.zone || host.endsWith(`.${this.zone}`);
  }

  set({ wildPath, path, scheme }: Pattern, target: Target | null): void {
    const map = wildPath ? this.#prefixes : this.#exact;
    const bySchema = map.get(path) ?? new Map<Scheme, Target | null>();
    bySchema.set(scheme, target);
    map.set(path, bySchema);
    this.#lengths = null;
  }

  delete({ wildPath, path, scheme }: Pattern): void {
    const map = wildPath ? this.#prefixes : this.#exact;
    const bySchema = map.get(path);
    bySchema?.delete(scheme);
    if (bySchema?.size === 0) map.delete(path);
    this.#lengths = null;
  }

  get empty(): boolean {
    return this.#exact.size === 0 && this.#prefixes.size === 0;
  }

  find(path: string, scheme: 'http' | 'https'): Found {
    const exact = choose(this.#exact.get(path), scheme);
    if (exact !== undefined) return exact;
    this.#lengths ??= lengthsOf(this.#prefixes);
    for (const length of this.#lengths) {
      if (length > path.length) continue;
      const found = choose(this.#prefixes.get(path.slice(0, length)), scheme);
      if (found !== undefined) return found;
    }
    return undefined;
  }
}

function targetOf({ accountId, script, bucket }: Doc<'domain'>): Target {
  return bucket === undefined ? { accountId, script } : { accountId, script, bucket };
}

/** Lengths of the keys, longest first. */
function lengthsOf(map: Map<string, unknown>): number[] {
  return [...new Set([...map.keys()].map((key) => key.length))].sort((a, b) => b - a);
}

/** The pattern that names the scheme is the more specific one. */
function choose(byScheme: Map<Scheme, Target | null> | undefined, scheme: 'http' | 'https'): Found {
  if (!byScheme) return undefined;
  const own = byScheme.get(scheme);
  return own !== undefined ? own : byScheme.get('any');
}

export class Routes {
  readonly #suffix: string;
  readonly #docs = new Map<string, EdgeDoc>();
  readonly #domains = new Map<string, Target>();
  readonly #hosts = new Map<string, PathIndex>();
  readonly #wildHosts = new Map<string, PathIndex>();
  /** Lengths of the wildcard hosts, longest first. Null until they are needed. */
  #wildLengths: number[] | null = null;
  readonly #subdomains = new Map<string, string>();
  /** "account/script" -> script. */
  readonly #scripts = new Map<string, Doc<'script'>>();
  /** "account/script/first 8 hex digits" -> version id. */
  readonly #previews = new Map<string, string>();

  /** `workersDomain`: 'workers.localhost' for hosts such as shop.acme.workers.localhost. */
  constructor(workersDomain: string) {
    this.#suffix = `.${workersDomain.toLowerCase()}`;
  }

  /** Takes what the ledger says of one document. */
  apply({ key, doc }: EdgeChange): void {
    const before = this.#docs.get(key);
    if (before) this.#remove(before);
    if (doc) {
      this.#docs.set(key, doc);
      this.#add(doc);
    } else this.#docs.delete(key);
  }

  script(accountId: string, name: string): Doc<'script'> | undefined {
    return this.#scripts.get(`${accountId}/${name}`);
  }

  /** `host` without port, in lower case, without a trailing dot; `path` begins with a slash and has no query. */
  find(host: string, path: string, scheme: 'http' | 'https'): Found {
    const exact = this.#hosts.get(host)?.find(path, scheme);
    if (exact !== undefined) return exact;
    const domain = this.#domains.get(host);
    if (domain) return domain;
    this.#wildLengths ??= lengthsOf(this.#wildHosts);
    for (const length of this.#wildLengths) {
      if (length > host.length) continue;
      const index = this.#wildHosts.get(host.slice(host.length - length));
      const found = index?.holds(host) ? index.find(path, scheme) : undefined;
      if (found !== undefined) return found;
    }
    return host.endsWith(this.#suffix) ? this.#workersHost(host.slice(0, -this.#suffix.length)) : undefined;
  }

  /** Is a certificate to be made for this host? True for hosts that some path of leads to a Worker. */
  serves(host: string): boolean {
    if (this.#hosts.has(host) || this.#domains.has(host)) return true;
    this.#wildLengths ??= lengthsOf(this.#wildHosts);
    for (const length of this.#wildLengths) {
      if (length <= host.length && this.#wildHosts.get(host.slice(host.length - length))?.holds(host)) return true;
    }
    return host.endsWith(this.#suffix) && this.#workersHost(host.slice(0, -this.#suffix.length)) !== undefined;
  }

  /** `name` is "<worker>.<subdomain>" or "<preview>-<worker>.<subdomain>". */
  #workersHost(name: string): Found {
    if (name === S3_LABEL || name.endsWith(`.${S3_LABEL}`)) return S3_API;
    const dot = name.indexOf('.');
    const accountId = dot > 0 ? this.#subdomains.get(name.slice(dot + 1)) : undefined;
    if (!accountId) return undefined;
    const label = name.slice(0, dot);
    const script = this.#scripts.get(`${accountId}/${label}`);
    if (script?.workersDev) return { accountId, script: label };
    return this.#preview(accountId, label);
  }

  #preview(accountId: string, label: string): Found {
    for (let dash = label.indexOf('-'); dash > 0; dash = label.indexOf('-', dash + 1)) {
      const script = this.#scripts.get(`${accountId}/${label.slice(dash + 1)}`);
      if (!script?.previews) continue;
      const prefix = label.slice(0, dash);
      const versionId = script.aliases[prefix] ?? this.#previews.get(`${accountId}/${script.name}/${prefix}`);
      if (versionId) return { accountId, script: script.name, versionId };
    }
    return undefined;
  }

  #add(doc: EdgeDoc): void {
    switch (doc.kind) {
      case 'account':
        this.#subdomains.set(doc.subdomain.toLowerCase(), doc.id);
        break;
      case 'script':
        this.#scripts.set(`${doc.accountId}/${doc.name}`, doc);
        break;
      case 'version':
        this.#previews.set(`${doc.accountId}/${doc.script}/${doc.id.slice(0, 8)}`, doc.id);
        break;
      case 'domain':
        this.#domains.set(doc.hostname.toLowerCase(), targetOf(doc));
        break;
      case 'route': {
        const pattern = parsePattern(doc.pattern);
        const hosts = pattern.wildHost ? this.#wildHosts : this.#hosts;
        const index = hosts.get(pattern.host) ?? new PathIndex(doc.zoneName.toLowerCase());
        index.set(pattern, doc.script === null ? null : { accountId: doc.accountId, script: doc.script });
        hosts.set(pattern.host, index);
        if (pattern.wildHost) this.#wildLengths = null;
      }
    }
  }

  #remove(doc: EdgeDoc): void {
    switch (doc.kind) {
      case 'account':
        this.#subdomains.delete(doc.subdomain.toLowerCase());
        break;
      case 'script':
        this.#scripts.delete(`${doc.accountId}/${doc.name}`);
        break;
      case 'version':
        this.#previews.delete(`${doc.accountId}/${doc.script}/${doc.id.slice(0, 8)}`);
        break;
      case 'domain':
        this.#domains.delete(doc.hostname.toLowerCase());
        break;
      case 'route': {
        const pattern = parsePattern(doc.pattern);
        const hosts = pattern.wildHost ? this.#wildHosts : this.#hosts;
        const index = hosts.get(pattern.host);
        index?.delete(pattern);
        if (index?.empty) hosts.delete(pattern.host);
        if (pattern.wildHost) this.#wildLengths = null;
      }
    }
  }
}
