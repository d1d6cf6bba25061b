/**
 * Where to listen, as it is written in the configuration: "127.0.0.1:8080", "[::1]:8080", ":8080" (all addresses, IPv6 and IPv4),
 * "unix:/run/selvedge/http.sock", "systemd:http" (socket activation, by the name of the descriptor or its number from 0).
 */
import { isIPv4, isIPv6 } from 'node:net';

export type ListenAddress =
  | { kind: 'tcp'; host: string; port: number }
  | { kind: 'unix'; path: string }
  | { kind: 'systemd'; name: string };

/** sun_path holds 108 bytes, the last one is 0 (unix(7)). */
const UNIX_PATH_BYTES = 107;
const MAX_PORT = 65_535;

/** Throws an Error of one sentence that says what is taken. */
export function parseListen(text: string): ListenAddress {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length);
    if (!path.startsWith('/') || Buffer.byteLength(path) > UNIX_PATH_BYTES || path.includes('\0'))
      throw new Error(`"${text}": a unix socket needs an absolute path of at most ${UNIX_PATH_BYTES} bytes`);
    return { kind: 'unix', path };
  }
  if (text.startsWith('systemd:')) {
    const name = text.slice('systemd:'.length);
    if (!/^[A-Za-z0-9_.@-]{1,255}$/.test(name))
      throw new Error(`"${text}": name the socket as its unit does in FileDescriptorName=, such as systemd:http`);
    return { kind: 'systemd', name };
  }
  const match = /^(?:\[([^\]]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? (match?.[2] || '::');
  const port = Number(match?.[3]);
  if (!match || port > MAX_PORT || !(match[1] ? isIPv6(host) : host === '::' || isIPv4(host)))
    throw new Error(
      `"${text}" is no address to listen on: write 127.0.0.1:8080, [::1]:8080, :8080, unix:/path or systemd:name`,
    );
  return { kind: 'tcp', host, port };
}

/** The inverse of `parseListen`. */
export function printListen(address: ListenAddress): string {
  switch (address.kind) {
    case 'unix':
      return `unix:${address.path}`;
    case 'systemd':
      return `systemd:${address.name}`;
    default:
      return `${isIPv6(address.host) ? `[${address.host}]` : address.host}:${address.port}`;
  }
}
