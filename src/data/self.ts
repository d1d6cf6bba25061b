/**
 * Is an address this machine's own edge? TCP connections of Workers to it are refused as loops (as Cloudflare refuses connect() to its own
 * addresses), and so is an origin that DNS says is the edge itself. Behind address translation a machine does not know all of its addresses:
 * there the count in CDN-Loop ends a loop.
 */

import { BlockList, isIP, type LookupFunction } from 'node:net';
import { networkInterfaces } from 'node:os';

/** Interfaces seldom change; asking the kernel for each connection would cost more than the connection. */
const KNOWN_MS = 10_000;
const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('0.0.0.0', 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');
LOOPBACK.addAddress('::', 'ipv6');

/** The connection would lead back to this machine's edge. */
export class LeadsToSelf extends Error {
  override name = 'LeadsToSelf';
  readonly code = 'SELVEDGE_LEADS_TO_SELF';
}

/** Does this address and port lead to the edge (or the control API) of this machine? */
export type IsSelf = (address: string, port: number) => boolean;

/** `ports`: where edge and control API listen. `addresses` gives the machine's own; injectable in tests. */
export function createIsSelf(ports: readonly number[], addresses: () => string[] = ownAddresses): IsSelf {
  const served = new Set(ports);
  let known = new Set<string>();
  let until = 0;
  return (address, port) => {
    if (!served.has(port)) return false;
    const bare = address.replace(/^::ffff:(?=\d+\.)/i, '');
    const family = isIP(bare);
    if (family === 0) return false;
    if (LOOPBACK.check(bare, family === 4 ? 'ipv4' : 'ipv6')) return true;
    if (Date.now() > until) {
      known = new Set(addresses());
      until = Date.now() + KNOWN_MS;
    }
    return known.has(bare.toLowerCase());
  };
}

/** A lookup that leaves out the addresses that lead to this machine's edge at `port`. */
export function lookupWithoutSelf(lookup: LookupFunction, isSelf: IsSelf, port: number): LookupFunction {
  return (hostname, options, callback) =>
    lookup(hostname, options, (error, found, family) => {
      if (error) return callback(error, '', 0);
      const others = typeof found === 'string' ? found : found.filter(({ address }) => !isSelf(address, port));
      const none = typeof others === 'string' ? isSelf(others, port) : others.length === 0;
      if (none) callback(new LeadsToSelf(`${hostname} is this machine's own edge`), '', 0);
      else callback(null, others, family);
    });
}

function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address.toLowerCase()));
}
