/**
 * Who asks: address, place, protocol and TLS of a connection become `request.cf` and the CF- headers. All of it is the same for every
 * request of a connection, so it is worked out once; only the ray id is new each time.
 */
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { type Place, placeOf } from './geo.ts';
import { addressOf, type Forwarded } from './peer.ts';

export interface Client {
  /** IPv4 or IPv6 address of the eyeball, v4-mapped ones as IPv4. */
  ip: string;
  /** A trusted proxy speaks for it. */
  forwarded: boolean;
  /** ISO 3166 code, 'XX' if it is not known. */
  country: string;
  scheme: 'http' | 'https';
  protocol: 'HTTP/1.1' | 'HTTP/2';
  /** The value of the internal header with request.cf: JSON, UTF-8 bytes as latin1. */
  cf: string;
  /** The same as an object, for tails. */
  cfObject: Record<string, unknown>;
  /** Header lines that every request of this connection gets, each with its line end. */
  lines: string;
}

/**
 * The client of a connection, or of a request that a trusted proxy passed on (`forwarded`).
 * https://developers.cloudflare.com/workers/runtime-apis/request/#incomingrequestcfproperties
 */
export function identify(
  socket: Socket,
  protocol: 'HTTP/1.1' | 'HTTP/2',
  colo: string,
  forwarded?: Forwarded,
): Client | Promise<Client> {
  const ip = forwarded?.ip ?? addressOf(socket);
  const tls = 'encrypted' in socket ? (socket as TLSSocket) : null;
  const scheme = forwarded?.scheme ?? (tls ? 'https' : 'http');
  const place = placeOf(ip);
  if (place instanceof Promise)
    return place.then((known) => describe(ip, !!forwarded, known, tls, scheme, protocol, colo));
  return describe(ip, !!forwarded, place, tls, scheme, protocol, colo);
}

function describe(
  ip: string,
  forwarded: boolean,
  place: Place,
  tls: TLSSocket | null,
  scheme: 'http' | 'https',
  protocol: 'HTTP/1.1' | 'HTTP/2',
  colo: string,
): Client {
  const cf: Record<string, unknown> = { ...place, colo: colo.toUpperCase(), httpProtocol: protocol };
  if (tls) {
    cf.tlsVersion = tls.getProtocol() ?? '';
    cf.tlsCipher = cipherName(tls);
  } else {
    cf.tlsVersion = '';
    cf.tlsCipher = '';
  }
  const country = place.country ?? 'XX';
  const json = Buffer.from(JSON.stringify(cf)).toString('latin1');
  return {
    ip,
    forwarded,
    country,
    scheme,
    protocol,
    cf: json,
    cfObject: cf,
    lines: [
      `selvedge-cf: ${json}`,
      // Each header costs the runtime about 2% of a hello world: http is what it takes where nothing is said.
      ...(scheme === 'https' ? ['selvedge-proto: https'] : []),
      `CF-Connecting-IP: ${ip}`,
      `CF-IPCountry: ${country}`,
      `CF-Visitor: {"scheme":"${scheme}"}`,
      `X-Forwarded-For: ${ip}`,
      `X-Forwarded-Proto: ${scheme}`,
      '',
    ].join('\r\n'),
  };
}

/** BoringSSL's name, as Cloudflare gives it: `AEAD-AES128-GCM-SHA256` for TLS 1.3, `ECDHE-ECDSA-AES128-GCM-SHA256` before. */
function cipherName(tls: TLSSocket): string {
  const name = tls.getCipher()?.name ?? '';
  return name.startsWith('TLS_') ? `AEAD-${name.slice(4).replaceAll('_', '-').replace(/^AES-/, 'AES')}` : name;
}

const RAY_BYTES = 8;
let pool = randomBytes(RAY_BYTES * 512);
let next = 0;

/** A new ray id: 16 hex digits. Random bytes are drawn for 512 ids at a time. */
export function rayId(): string {
  if (next === pool.length) {
    pool = randomBytes(pool.length);
    next = 0;
  }
  const id = pool.toString('hex', next, next + RAY_BYTES);
  next += RAY_BYTES;
  return id;
}
