/**
 * Versions and ciphers of TLS. Hosts may block more or allow less than the rest: the handshake takes the lowest of all, and a connection whose
 * host wants more is cut before its first request. Ciphers: forward secret and authenticated only (RFC 9325, 4.2).
 */
import type { TLSSocket } from 'node:tls';
import type { TlsSettings, TlsVersion } from '../model/settings.ts';

const ORDER: TlsVersion[] = ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'];

const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
];
/** What TLS 1.0 and 1.1 have; OpenSSL's default level refuses their SHA-1 signatures. */
const OLD_CIPHERS = ['ECDHE-ECDSA-AES128-SHA', 'ECDHE-RSA-AES128-SHA', '@SECLEVEL=0'];

/** The oldest version that any host takes. */
export function lowestVersion({ minVersion, hosts }: TlsSettings): TlsVersion {
  const all = [minVersion, ...Object.values(hosts).map((host) => host.minVersion)];
  return ORDER.find((version) => all.includes(version)) ?? minVersion;
}

/** OpenSSL's cipher list. */
export function ciphers(tls: TlsSettings): string {
  const old = ORDER.indexOf(lowestVersion(tls)) < ORDER.indexOf('TLSv1.2');
  return [...CIPHERS, ...(old ? OLD_CIPHERS : [])].join(':');
}

/** The oldest version that a host takes; `serverName` '' for clients that name none. */
export function minVersionOf({ minVersion, hosts }: TlsSettings, serverName: string): TlsVersion {
  const name = serverName.toLowerCase();
  return (hosts[name] ?? hosts[`*${name.slice(name.indexOf('.'))}`])?.minVersion ?? minVersion;
}

/** Did the client take an older version than its host wants? */
export function tooOld(tls: TlsSettings, socket: TLSSocket): boolean {
  if (Object.keys(tls.hosts).length === 0) return false;
  const { servername } = socket as TLSSocket & { servername?: string | false };
  const version = ORDER.indexOf(socket.getProtocol() as TlsVersion);
  return version < ORDER.indexOf(minVersionOf(tls, servername || ''));
}
