/**
 * Patterns of routes, validated as Cloudflare documents it: a wildcard only at the beginning of the host or at the end of the path.
 * https://developers.cloudflare.com/workers/configuration/routing/routes/#validity
 */
import type { Zone } from '../model/documents.ts';
import type { Ledger } from '../state/ledger.ts';
import { ApiError } from './errors.ts';
import { isUnder, listZones, normalizeHostname, zoneOfHostname } from './zones.ts';

const MAX_LENGTH = 1024;

export interface RoutePattern {
  /** As stored: host in lower case, rest as given. */
  pattern: string;
  /** A host that the pattern's host matches: says in which zone it lies. */
  sampleHost: string;
}

/** Validates a pattern such as "*.example.com/images/*". Throws ApiError 10022. */
export function parseRoutePattern(given: string): RoutePattern {
  const wrong = (why: string) =>
    new ApiError(10022, `Invalid route pattern ${JSON.stringify(given.slice(0, 200))}: ${why}.`);
  if (given.length > MAX_LENGTH) throw wrong(`it is longer than ${MAX_LENGTH} characters`);
  // Printable ASCII: a pattern is compared with a URL, in which everything else is encoded.
  if (!/^[\x21-\x7e]+$/.test(given)) throw wrong('it may hold only printable ASCII characters, no spaces');
  const [, scheme = '', host = '', path = ''] = /^(https?:\/\/)?([^/?#]*)(.*)$/i.exec(given) ?? [];
  if (/[?#]/.test(path)) throw wrong('it may not have a query or a fragment');
  if (host.includes('@') || host.includes(':')) throw wrong('its host may have neither a port nor user information');
  if (host.lastIndexOf('*') > 0) throw wrong('in the host a wildcard (*) may stand only at the beginning');
  const star = path.indexOf('*');
  if (star !== -1 && star !== path.length - 1) throw wrong('in the path a wildcard (*) may stand only at the end');
  const fixed = host.replace(/^\*\.?/, '').toLowerCase();
  if (fixed === '') throw wrong('it has no host name');
  // "*-api.example.com" is fine: what the wildcard stands for completes the label.
  const sampleHost = normalizeHostname(fixed) ?? (host.startsWith('*') ? normalizeHostname(`x${fixed}`) : null);
  if (!sampleHost) throw wrong('its host is not a domain name');
  return { pattern: `${scheme.toLowerCase()}${host.toLowerCase()}${path}`, sampleHost };
}

/**
 * The account's zone that a host lies in; `wanted` names it by id or name where the client did.
 * Throws ApiError 10082: no such zone of this account, or the host is not in it.
 */
export async function zoneFor(
  ledger: Ledger,
  accountId: string,
  host: string,
  wanted: { zone_id?: string | undefined; zone_name?: string | undefined } = {},
): Promise<Zone> {
  const { zone_id: id, zone_name: name } = wanted;
  if (id === undefined && name === undefined) {
    const zone = await zoneOfHostname(ledger, accountId, host);
    if (!zone) throw new ApiError(10082, `No zone of this account holds ${host}: create the zone first.`);
    return zone;
  }
  const zone = (await listZones(ledger, accountId)).find((each) =>
    id === undefined ? each.name === name : each.id === id,
  );
  if (!zone) throw new ApiError(10082, `This account has no zone ${id ?? name}.`);
  if (!isUnder(host, zone.name)) throw new ApiError(10082, `${host} does not lie in the zone ${zone.name}.`);
  return zone;
}
