/**
 * Where a subrequest goes: to a Worker of this machine through its own edge, to the origin of a host of the account's zones, or out.
 * As on Cloudflare, decided by the host and by who asks:
 *
 * - A host below the workers domain, a route or a custom domain of the same account: that Worker, as any visitor would reach it.
 * - A host of a zone in which the caller itself has a route: the host's origin, whatever routes match, so that a Worker before a site can
 *   ask the site (https://developers.cloudflare.com/workers/runtime-apis/fetch/). Custom domains are origins themselves: such a Worker is
 *   asked, unless a route stands before it on the same path.
 * - `cf.resolveOverride`: the origin of another host, if both hosts lie in zones of the account, else it is ignored
 *   (https://developers.cloudflare.com/workers/runtime-apis/request/#the-cf-property-requestinitcfproperties).
 * - What belongs to other accounts is reached by DNS only: a zone is a claim, and a claim must not catch another tenant's requests.
 *
 * Ports: for hosts of this machine and of the account's zones those that Cloudflare's proxy has, others are ignored
 * (https://developers.cloudflare.com/workers/configuration/compatibility-flags/, allow_custom_ports); elsewhere any.
 */
import type { Directory } from './directory.ts';

/** https://developers.cloudflare.com/fundamentals/reference/network-ports/ */
const PROXY_PORTS = {
  http: new Set([80, 8080, 8880, 2052, 2082, 2086, 2095]),
  https: new Set([443, 2053, 2083, 2087, 2096, 8443]),
};

export interface Destination {
  /** To this machine's edge. Its own address needs no check, its certificate none either: the connection does not leave the machine. */
  local: boolean;
  /** The connection has TLS. */
  secure: boolean;
  /** Name or address to connect to, without brackets. */
  host: string;
  port: number;
  /** Name for TLS and for the certificate's check; '' for an address. */
  servername: string;
  /** What Host (or :authority) says. */
  authority: string;
  /** A name that turns out to be this machine's edge is refused: its origin is not known. */
  refuseSelf: boolean;
}

/** The local edge: where its listeners are. */
export interface LocalEdge {
  address: string;
  httpPort: number;
  httpsPort: number;
}

export interface Caller {
  accountId: string;
  script: string;
}

type Known = Pick<Directory, 'find' | 'isOnWorkersDomain' | 'domain' | 'zoneOf' | 'origin' | 'hasRouteIn'>;

/** `url` is http or https. `resolveOverride` as the Worker gave it, or undefined. */
export function chooseDestination(
  known: Known,
  edge: LocalEdge,
  caller: Caller,
  url: URL,
  resolveOverride?: string,
): Destination {
  const host = nameOf(url.hostname);
  const zone = known.zoneOf(host);
  if (zone?.accountId !== caller.accountId) return workersHost() ? toEdge(edge, url) : outside(url);
  const other = resolveOverride === undefined ? undefined : nameOf(resolveOverride);
  if (other !== undefined && known.zoneOf(other)?.accountId === caller.accountId) {
    return toOriginOf(known, caller, url, other);
  }
  return isWorkersOwn() ? toEdge(edge, url) : toOriginOf(known, caller, url, host);

  function workersHost(): boolean {
    return known.isOnWorkersDomain(host) && known.find(host, url.pathname, scheme(url)) != null;
  }

  /** Is the URL that of a Worker of the account, for this caller? */
  function isWorkersOwn(): boolean {
    const target = known.find(host, url.pathname, scheme(url));
    if (target?.accountId !== caller.accountId) return false;
    return (
      !known.hasRouteIn(caller.accountId, caller.script, zone!.name) || known.domain(host)?.script === target.script
    );
  }
}

function toEdge(edge: LocalEdge, url: URL): Destination {
  const secure = url.protocol === 'https:';
  return {
    local: true,
    secure,
    host: edge.address,
    port: secure ? edge.httpsPort : edge.httpPort,
    servername: bare(url.hostname),
    authority: authorityOf(url, proxyPort(url)),
    refuseSelf: false,
  };
}

function toOriginOf(known: Known, { accountId }: Caller, url: URL, host: string): Destination {
  const port = proxyPort(url);
  const set = known.origin(host);
  const origin = set?.accountId === accountId ? URL.parse(set.url) : null;
  const secure = (origin ?? url).protocol === 'https:';
  return {
    local: false,
    secure,
    host: origin ? bare(origin.hostname) : host,
    port: origin ? portOf(origin) : port,
    servername: bare(url.hostname),
    authority: authorityOf(url, port),
    refuseSelf: true,
  };
}

function outside(url: URL): Destination {
  const host = bare(url.hostname);
  const isAddress = /^[\d.]+$|:/.test(host);
  return {
    local: false,
    secure: url.protocol === 'https:',
    host,
    port: portOf(url),
    servername: isAddress ? '' : host,
    authority: url.host,
    refuseSelf: false,
  };
}

function scheme(url: URL): 'http' | 'https' {
  return url.protocol === 'https:' ? 'https' : 'http';
}

function portOf(url: URL): number {
  return Number(url.port) || (url.protocol === 'https:' ? 443 : 80);
}

/** The URL's port if Cloudflare's proxy has it for the scheme, else the scheme's own. */
function proxyPort(url: URL): number {
  const port = portOf(url);
  return PROXY_PORTS[scheme(url)].has(port) ? port : url.protocol === 'https:' ? 443 : 80;
}

function authorityOf(url: URL, port: number): string {
  return port === (url.protocol === 'https:' ? 443 : 80) ? url.hostname : `${url.hostname}:${port}`;
}

/** `[::1]` of a URL -> `::1`. */
function bare(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, '');
}

/** As the edge looks hosts up. */
function nameOf(hostname: string): string {
  return hostname.toLowerCase().replace(/\.$/, '');
}
