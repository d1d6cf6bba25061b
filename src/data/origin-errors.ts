/**
 * What a Worker gets when its subrequest reaches no origin: as on Cloudflare a response, not an exception, with a 52x status or
 * a 1xxx code in the body
 * (https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/ and .../cloudflare-1xxx-errors/).
 * A private address is refused with 403 and "error code: 1002" (DNS points to prohibited IP) or 1003 (direct IP access); a host whose
 * origin would be this edge itself with 1000.
 */
import { isIP } from 'node:net';
import { AddressRefused } from './addresses.ts';
import type { Destination } from './destination.ts';
import { LeadsToSelf } from './self.ts';

export interface OriginError {
  status: number;
  /** As in the page "error code: 522". */
  code: number;
  text: string;
  /** A rule said no, not the network. */
  refused?: true;
}

const REFUSED_NAME: OriginError = {
  status: 403,
  code: 1002,
  text: 'the host name points to an address that Workers may not reach',
  refused: true,
};
const REFUSED_ADDRESS: OriginError = {
  status: 403,
  code: 1003,
  text: 'Workers may not reach this address',
  refused: true,
};
const SELF: OriginError = {
  status: 403,
  code: 1000,
  text: 'the host name points to this edge itself; `selvedge zone origin set` says where its origin is',
  refused: true,
};
const DNS_FAILED = { status: 530, code: 1016, text: 'the host name of the origin does not resolve' };
const REFUSED_CONNECTION = { status: 521, code: 521, text: 'the origin refused the connection' };
const CONNECT_TIMEOUT = { status: 522, code: 522, text: 'the connection to the origin timed out' };
const UNREACHABLE = { status: 523, code: 523, text: 'the origin is unreachable' };
export const RESPONSE_TIMEOUT: OriginError = { status: 524, code: 524, text: 'the origin did not answer in time' };
const TLS_FAILED = { status: 525, code: 525, text: 'the TLS handshake with the origin failed' };
const BAD_CERTIFICATE = { status: 526, code: 526, text: 'the certificate of the origin is not valid' };
const UNKNOWN = { status: 520, code: 520, text: 'the origin closed the connection or sent what is not HTTP' };
/** More than MAX_HOPS through this edge (RFC 8586: "CDN-Loop"). */
export const LOOP: OriginError = { status: 508, code: 1019, text: 'Workers call each other in a loop' };

const BY_CODE: Record<string, OriginError> = {
  ENOTFOUND: DNS_FAILED,
  EAI_AGAIN: DNS_FAILED,
  EAI_FAIL: DNS_FAILED,
  ECONNREFUSED: REFUSED_CONNECTION,
  ETIMEDOUT: CONNECT_TIMEOUT,
  EHOSTUNREACH: UNREACHABLE,
  ENETUNREACH: UNREACHABLE,
  EADDRNOTAVAIL: UNREACHABLE,
  SELVEDGE_IDLE: RESPONSE_TIMEOUT,
  EPROTO: TLS_FAILED,
};

/** Translates what sockets, TLS and HTTP clients throw. */
export function toOriginError(
  error: unknown,
  { host, servername }: Pick<Destination, 'host' | 'servername'>,
): OriginError {
  // With several addresses a connection fails with an AggregateError; its parts have the reason.
  const parts = error instanceof AggregateError ? [error, ...error.errors] : [error];
  for (const part of parts) {
    // An origin that was set by its address is a name for the Worker.
    if (part instanceof AddressRefused) return isIP(host) && servername === '' ? REFUSED_ADDRESS : REFUSED_NAME;
    if (part instanceof LeadsToSelf) return SELF;
    const code = String((part as { code?: unknown } | null)?.code ?? '');
    // Node's word for a handshake that the other side ended.
    if (code === 'ECONNRESET' && /before secure TLS/.test(String((part as Error).message))) return TLS_FAILED;
    const known = BY_CODE[code];
    if (known) return known;
    if (/CERT|SELF_SIGNED|ISSUER|ALTNAME/.test(code)) return BAD_CERTIFICATE;
    if (code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS')) return TLS_FAILED;
  }
  return UNKNOWN;
}

/** Body of the answer, as Cloudflare gives it to clients that are no browsers, and one line that says more. */
export function errorBody({ code, text }: OriginError): Buffer {
  return Buffer.from(`error code: ${code}\n${text}\n`);
}
