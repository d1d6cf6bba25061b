/**
 * Who is at the other end of a connection, and who speaks through it: the client itself, a load balancer that says it by the PROXY protocol,
 * or a trusted proxy that says it in each request by Forwarded (RFC 7239) or X-Forwarded-For. Nobody else is believed.
 */
import { BlockList, isIP, type Socket } from 'node:net';

/** Real addresses by connection, of listeners with the PROXY protocol. */
const behind = new WeakMap<object, string>();

/** The PROXY protocol said so. */
export function setBehind(socket: Socket, ip: string): void {
  behind.set(socket, plain(ip));
}

/** IPv4 or IPv6 address of the client of a connection, v4-mapped ones as IPv4. '0.0.0.0' for unix sockets that say nothing. */
export function addressOf(socket: Socket): string {
  // TLS has the connection that it came on below it.
  const raw = (socket as Socket & { _parent?: Socket })._parent ?? socket;
  return behind.get(raw) ?? behind.get(socket) ?? plain(socket.remoteAddress ?? '0.0.0.0');
}

function plain(ip: string): string {
  return ip.replace(/^::ffff:(?=\d+\.)/i, '');
}

export interface TrustedProxies {
  has(ip: string): boolean;
}

/** `cidrs` as in the configuration. */
export function trustedProxies(cidrs: readonly string[]): TrustedProxies {
  if (cidrs.length === 0) return { has: () => false };
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [address = '', bits] = cidr.split('/');
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    list.addSubnet(address, Number(bits ?? (family === 'ipv6' ? 128 : 32)), family);
  }
  return { has: (ip) => list.check(ip, isIP(ip) === 6 ? 'ipv6' : 'ipv4') };
}

export interface Forwarded {
  /** undefined: the proxy does not say. */
  ip: string | undefined;
  scheme: 'http' | 'https' | undefined;
}

/**
 * What a trusted proxy's request says: the last address that is not itself a trusted proxy. Forwarded counts before X-Forwarded-For if both
 * are there. `raw`: names and values in turn.
 */
export function readForwarded(raw: readonly string[], trusted: TrustedProxies): Forwarded {
  const forwarded: string[] = [];
  const addresses: string[] = [];
  let proto: string | undefined;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    switch (raw[i]!.toLowerCase()) {
      case 'forwarded':
        forwarded.push(...splitQuoted(raw[i + 1]!));
        break;
      case 'x-forwarded-for':
        addresses.push(...raw[i + 1]!.split(',').map((part) => part.trim()));
        break;
      case 'x-forwarded-proto':
        proto = raw[i + 1]!.split(',').at(-1)!.trim().toLowerCase();
    }
  }
  if (forwarded.length > 0) {
    const elements = forwarded.map(parseElement);
    const ip = lastUntrusted(
      elements.map((element) => element.for ?? ''),
      trusted,
    );
    return { ip, scheme: schemeOf(elements.at(-1)!.proto?.toLowerCase()) };
  }
  return { ip: lastUntrusted(addresses, trusted), scheme: schemeOf(proto) };
}

function schemeOf(text: string | undefined): Forwarded['scheme'] {
  return text === 'http' || text === 'https' ? text : undefined;
}

/** From the right, as each proxy appends; what is no address ends the search: nothing before it can be trusted. */
function lastUntrusted(nodes: string[], trusted: TrustedProxies): string | undefined {
  let last: string | undefined;
  for (let i = nodes.length - 1; i >= 0; i--) {
    const ip = nodeAddress(nodes[i]!);
    if (!ip) return last;
    last = ip;
    if (!trusted.has(ip)) return ip;
  }
  return last;
}

/** "192.0.2.1", "192.0.2.1:80", "[2001:db8::1]:80", "2001:db8::1" -> address; undefined for `unknown`, `_hidden` and the like. */
function nodeAddress(node: string): string | undefined {
  const match = /^\[([0-9a-fA-F:.]+)\](?::\d{1,5})?$/.exec(node) ?? /^(\d+\.\d+\.\d+\.\d+)(?::\d{1,5})?$/.exec(node);
  const ip = plain(match?.[1] ?? node);
  return isIP(ip) ? ip : undefined;
}

/** Elements of a Forwarded header: commas outside of quoted strings separate them (RFC 7239, 4). */
function splitQuoted(value: string): string[] {
  return (value.match(/(?:[^,"]|"(?:[^"\\]|\\.)*")+/g) ?? []).map((part) => part.trim()).filter((part) => part !== '');
}

function parseElement(element: string): { for?: string; proto?: string } {
  const pairs: Record<string, string> = {};
  for (const match of element.matchAll(/(?:^|;)\s*([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^;"\s]*))/g)) {
    pairs[match[1]!.toLowerCase()] = match[2] === undefined ? match[3]! : match[2].replace(/\\(.)/g, '$1');
  }
  return pairs;
}
