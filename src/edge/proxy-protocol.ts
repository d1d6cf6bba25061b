/**
 * The PROXY protocol, versions 1 and 2: the header by which a load balancer says who connected to it
 * (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt). On a listener that has it, it is mandatory: who does not send it is cut.
 */
import { isIPv4, isIPv6, type Socket } from 'node:net';

/** Version 1: at most 107 bytes with its line end. */
const V1_BYTES = 107;
const V2_SIGNATURE = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);
const V2_HEAD_BYTES = 16;
/** Addresses and TLVs of version 2: senders fit into one packet. */
const V2_MAX_BYTES = 1536;
const PREFIX_V1 = Buffer.from('PROXY ');

/** `ip` null: the load balancer speaks for itself (a health check), so the address of the connection counts. */
export interface ProxyHeader {
  ip: string | null;
  /** Bytes that the header took. */
  length: number;
}

/** Reads the header at the start of `bytes`. Undefined: more bytes are needed. Throws if it is none. */
export function parseProxyHeader(bytes: Buffer): ProxyHeader | undefined {
  const signature = bytes.subarray(0, V2_SIGNATURE.length);
  if (signature.equals(V2_SIGNATURE.subarray(0, signature.length)) && bytes.length > 0)
    return signature.length < V2_SIGNATURE.length ? undefined : parseV2(bytes);
  const prefix = bytes.subarray(0, PREFIX_V1.length);
  if (!prefix.equals(PREFIX_V1.subarray(0, prefix.length))) throw new Error('no PROXY protocol header');
  return parseV1(bytes);
}

function parseV1(bytes: Buffer): ProxyHeader | undefined {
  const end = bytes.subarray(0, V1_BYTES).indexOf('\r\n');
  if (end < 0) {
    if (bytes.length >= V1_BYTES) throw new Error('a PROXY line that does not end');
    return undefined;
  }
  const [, family, source = '', destination = '', from = '', to = '', ...more] = bytes
    .toString('latin1', 0, end)
    .split(' ');
  const length = end + 2;
  if (family === 'UNKNOWN') return { ip: null, length };
  const isAddress = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isIPv6 : undefined;
  const isPort = (text: string) => /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535;
  if (!isAddress?.(source) || !isAddress(destination) || !isPort(from) || !isPort(to) || more.length > 0)
    throw new Error('a wrong PROXY line');
  return { ip: source, length };
}

function parseV2(bytes: Buffer): ProxyHeader | undefined {
  if (bytes.length < V2_HEAD_BYTES) return undefined;
  const command = bytes[12]!;
  const family = bytes[13]!;
  const size = bytes.readUInt16BE(14);
  if (command >> 4 !== 2 || (command & 15) > 1) throw new Error('an unknown version or command of the PROXY protocol');
  if (size > V2_MAX_BYTES) throw new Error('a PROXY header that is too long');
  const length = V2_HEAD_BYTES + size;
  if (bytes.length < length) return undefined;
  // LOCAL: the sender's own connection.
  if ((command & 15) === 0) return { ip: null, length };
  const body = bytes.subarray(V2_HEAD_BYTES, length);
  switch (family) {
    case 0x11:
      if (size < 12) throw new Error('a PROXY header without its addresses');
      return { ip: body.subarray(0, 4).join('.'), length };
    case 0x21: {
      if (size < 36) throw new Error('a PROXY header without its addresses');
      const groups = Array.from({ length: 8 }, (_, i) => body.readUInt16BE(2 * i).toString(16));
      return { ip: new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1), length };
    }
    default:
      // UNSPEC, UDP and unix sockets say nothing that can be used.
      return { ip: null, length };
  }
}

/** Reads the header from a new connection and puts back what follows. Calls `done` once, with an error if there is none in time. */
export function readProxyHeader(
  socket: Socket,
  timeoutMs: number,
  done: (error: Error | null, ip: string | null) => void,
): void {
  let pending: Buffer = Buffer.alloc(0);
  const timer = setTimeout(() => finish(new Error('no PROXY protocol header in time'), null), timeoutMs);
  const finish = (error: Error | null, ip: string | null) => {
    clearTimeout(timer);
    socket.off('readable', onReadable).off('close', onClose).off('error', onClose);
    done(error, ip);
  };
  const onClose = () => finish(new Error('closed before the PROXY protocol header'), null);
  const onReadable = () => {
    const bytes = socket.read() as Buffer | null;
    if (!bytes) return;
    pending = pending.length > 0 ? Buffer.concat([pending, bytes]) : bytes;
    let header: ProxyHeader | undefined;
    try {
      header = parseProxyHeader(pending);
    } catch (error) {
      return finish(error as Error, null);
    }
    if (!header) return;
    if (pending.length > header.length) socket.unshift(pending.subarray(header.length));
    finish(null, header.ip);
  };
  socket.on('readable', onReadable).once('close', onClose).once('error', onClose);
}
