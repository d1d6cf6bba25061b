/** Where the origins of hosts are: set by `selvedge zone origin` and the API, read by the data process (`data/destination.ts`). */
import { isIP } from 'node:net';
import type { OriginServer, Zone } from '../model/documents.ts';
import { keys } from '../model/keys.ts';
import { LIMITS } from '../model/limits.ts';
import type { Ledger } from '../state/ledger.ts';
import { ApiError } from './errors.ts';
import { isUnder, normalizeHostname } from './zones.ts';

/**
 * Says where the origin of a host is; replaces what was said before. `url` is "http://" or "https://", a host or an address, and a port
 * if need be. Whether Workers may reach that address is decided with each request. Throws ApiError 10001 (no such URL or host name),
 * 10082 (the host does not lie in the zone), 10023 (too many).
 */
export async function setOrigin(ledger: Ledger, zone: Zone, host: string, url: string): Promise<OriginServer> {
  const hostname = normalizeHostname(host);
  if (!hostname) throw new ApiError(10001, `"${host}" is not a host name.`);
  if (!isUnder(hostname, zone.name)) {
    throw new ApiError(10082, `${hostname} does not lie in the zone ${zone.name}.`);
  }
  const origin: OriginServer = {
    zoneId: zone.id,
    zoneName: zone.name,
    accountId: zone.accountId,
    hostname,
    url: originUrl(url),
    createdOn: new Date().toISOString(),
  };
  const before = await ledger.get<OriginServer>(keys.origin(hostname));
  if (!before && (await listOrigins(ledger, zone)).length >= LIMITS.originsPerZone) {
    throw new ApiError(10023, `The zone ${zone.name} has ${LIMITS.originsPerZone} origins, the most that it may have.`);
  }
  await ledger.put(keys.origin(hostname), origin);
  return origin;
}

/** Origins of a zone (or of all) by host name. */
export async function listOrigins(ledger: Ledger, zone?: Zone): Promise<OriginServer[]> {
  const all = (await ledger.list<OriginServer>(keys.origins)).map(({ value }) => value);
  return zone ? all.filter(({ zoneId }) => zoneId === zone.id) : all;
}

/** DNS decides again. Throws ApiError 10009 if the host has no origin in this zone. */
export async function removeOrigin(ledger: Ledger, zone: Zone, host: string): Promise<OriginServer> {
  const hostname = normalizeHostname(host) ?? host;
  const entry = await ledger.get<OriginServer>(keys.origin(hostname));
  if (entry?.value.zoneId !== zone.id) throw new ApiError(10009, `The host ${hostname} has no origin in ${zone.name}.`);
  await ledger.delete(keys.origin(hostname));
  return entry.value;
}

/** "https://10.0.0.5:8443" and nothing behind it. */
function originUrl(text: string): string {
  const url = URL.parse(text);
  const host = url?.hostname.replace(/^\[|\]$/g, '') ?? '';
  const bare = url && url.pathname === '/' && !url.search && !url.hash && !url.username && !url.password;
  if (!url || !bare || !/^https?:$/.test(url.protocol) || !(isIP(host) || normalizeHostname(host) || isLabel(host))) {
    throw new ApiError(10001, `"${text}" is not the address of an origin: write it like https://10.0.0.5:8443.`);
  }
  return url.origin;
}

/** A name of the local network, such as "backend". */
function isLabel(host: string): boolean {
  return /^[a-z0-9_]([a-z0-9-]{0,61}[a-z0-9])?$/.test(host);
}
