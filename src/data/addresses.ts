/**
 * Which addresses a Worker may reach. The public internet, and what the operator allowed (`egressAllow`); nothing else: a
 * Worker must never see this machine, its network or a cloud's metadata service. The address that was checked is the one
 * that is connected to: `connect` hands only checked addresses to the socket, so a name that changes its mind between
 * check and connection (DNS rebinding) gains nothing.
 */
import dns, { type LookupAddress, type LookupOptions } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

/**
 * Special-purpose ranges, not globally reachable: the IANA registries (RFC 6890 and updates:
 * https://www.iana.org/assignments/iana-ipv4-special-registry, .../iana-ipv6-special-registry).
 */
const PRIVATE_CIDRS = [
  '0.0.0.0/8', // "this network"; 0.0.0.0 reaches loopback on Linux
  '10.0.0.0/8', // RFC 1918
  '100.64.0.0/10', // carrier-grade NAT, RFC 6598
  '127.0.0.0/8', // loopback
  '169.254.0.0/16', // link-local, with the metadata services of clouds
  '172.16.0.0/12', // RFC 1918
  '192.0.0.0/24', // IETF protocol assignments
  '192.0.2.0/24', // documentation
  '192.31.196.0/24', // AS112
  '192.52.193.0/24', // AMT
  '192.88.99.0/24', // 6to4 relay anycast, deprecated
  '192.168.0.0/16', // RFC 1918
  '192.175.48.0/24', // AS112
  '198.18.0.0/15', // benchmarks
  '198.51.100.0/24', // documentation
  '203.0.113.0/24', // documentation
  '224.0.0.0/4', // multicast
  '240.0.0.0/4', // reserved, and broadcast
  '::/96', // unspecified, loopback, IPv4-compatible (deprecated)
  '::ffff:0:0:0/96', // IPv4-translated, RFC 7915
  '64:ff9b:1::/48', // local-use NAT64, RFC 8215
  '100::/64', // discard
  '2001::/23', // IETF protocol assignments, with Teredo, ORCHID and benchmarks
  '2001:db8::/32', // documentation
  '3fff::/20', // documentation
  '5f00::/16', // segment routing
  'fc00::/7', // unique local, with fd00:ec2::254
  'fe80::/10', // link-local
  'fec0::/10', // site-local, deprecated
  'ff00::/8', // multicast
];

const refused = blockList(PRIVATE_CIDRS);

/** The name or address is private, reserved, or has no address that may be reached. */
export class AddressRefused extends Error {
  override name = 'AddressRefused';
  readonly code = 'SELVEDGE_ADDRESS_REFUSED';
}

/** As `dns.lookup` with `all: true`; injectable in tests. */
export type Resolve = (hostname: string, options: LookupOptions & { all: true }, callback: ResolveCallback) => void;
type ResolveCallback = (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void;

export interface Addresses {
  /** May a Worker reach this IPv4 or IPv6 address? False for anything that is not an address. */
  isAllowed(address: string): boolean;
  /** Throws AddressRefused if `host` is an address (no name) that is not allowed: sockets do not look addresses up. */
  checkLiteral(host: string): void;
  /** For the option `lookup` of sockets: resolves the name and answers only allowed addresses. */
  readonly lookup: LookupFunction;
}

/** `allow`: CIDRs (or single addresses) that may be reached although they are private. Throws on what is not a CIDR. */
export function createAddresses(allow: readonly string[], resolve: Resolve = dns.lookup): Addresses {
  const permitted = blockList(allow);

  function isAllowed(address: string): boolean {
    const bare = address.replace(/%.*$/, ''); // fe80::1%eth0
    const family = isIP(bare);
    if (family === 0) return false;
    if (family === 4) return permitted.check(bare, 'ipv4') || !refused.check(bare, 'ipv4');
    const embedded = embeddedIpv4(bare);
    if (embedded) return isAllowed(embedded);
    return permitted.check(bare, 'ipv6') || !refused.check(bare, 'ipv6');
  }

  return {
    isAllowed,
    checkLiteral(host) {
      const address = host.replace(/^\[|\]$/g, '');
      if (isIP(address.replace(/%.*$/, '')) && !isAllowed(address)) {
        throw new AddressRefused(`${address} is not a public address`);
      }
    },
    lookup(hostname, options, callback) {
      const { all: wantsAll, ...rest } = options;
      resolve(hostname, { ...rest, all: true }, (error, addresses) => {
        if (error) return callback(error, '', 0);
        const reachable = addresses.filter(({ address }) => isAllowed(address));
        const first = reachable[0];
        if (!first) return callback(new AddressRefused(`${hostname} does not resolve to a public address`), '', 0);
        if (wantsAll) callback(null, reachable);
        else callback(null, first.address, first.family);
      });
    },
  };
}

function blockList(cidrs: readonly string[]): BlockList {
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [address = '', bits, ...more] = cidr.split('/');
    const family = isIP(address);
    const width = family === 4 ? 32 : 128;
    const prefix = bits === undefined ? width : Number(bits);
    if (family === 0 || more.length > 0 || !/^\d*$/.test(bits ?? '') || bits === '' || prefix > width) {
      throw new Error(`"${cidr}" is not an address range; write it like 192.168.1.0/24 or fd00::/8`);
    }
    list.addSubnet(address, prefix, family === 4 ? 'ipv4' : 'ipv6');
  }
  return list;
}

/** The IPv4 address inside an IPv6 one: v4-mapped (::ffff:0:0/96), NAT64 (64:ff9b::/96), 6to4 (2002::/16); else null. */
function embeddedIpv4(address: string): string | null {
  const words = ipv6Words(address);
  if (!words) return null;
  const dotted = (high: number, low: number) => `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = words;
  if (a === 0x2002) return dotted(b, c);
  if ((c | d | e) !== 0) return null;
  if (a === 0 && b === 0 && f === 0xffff) return dotted(g, h);
  if (a === 0x64 && b === 0xff9b && f === 0) return dotted(g, h);
  return null;
}

/** The eight 16-bit words of a valid IPv6 address in any notation. */
function ipv6Words(address: string): number[] | null {
  const url = URL.parse(`http://[${address}]/`); // normalises: lower case, no dotted tail
  if (!url) return null;
  const [head = '', tail] = url.hostname.slice(1, -1).split('::');
  const words = (text: string) => (text === '' ? [] : text.split(':').map((word) => Number.parseInt(word, 16)));
  const front = words(head);
  if (tail === undefined) return front;
  const back = words(tail);
  return [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back];
}
