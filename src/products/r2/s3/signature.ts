/**
 * AWS Signature Version 4, checked: in the field Authorization, or in the query of a presigned URL
 * (https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html).
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { R2Error } from '../limits.ts';
import { encodeKey } from '../source.ts';

const ALGORITHM = 'AWS4-HMAC-SHA256';
const MAX_SKEW_MS = 15 * 60_000;
/** Of a presigned URL: 7 days. */
const MAX_EXPIRES_S = 604_800;
/** As R2 takes them; its location hints, too. */
const REGIONS = new Set(['auto', 'us-east-1', 'wnam', 'enam', 'weur', 'eeur', 'apac', 'oc']);
export const UNSIGNED = 'UNSIGNED-PAYLOAD';
const PAYLOADS = new Set([
  UNSIGNED,
  'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
  'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
  'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER',
]);

export interface SignedRequest {
  method: string;
  /** As they stood in the request line, still encoded. */
  path: string;
  query: string;
  /** Names and values in turns, as they came; Node reads bytes as latin1. */
  rawHeaders: readonly string[];
}

interface Claim {
  accessKeyId: string;
  /** YYYYMMDD/region/s3/aws4_request */
  scope: string;
  /** Names in lower case. */
  signedHeaders: string[];
  signature: string;
  /** YYYYMMDD'T'HHMMSS'Z' */
  date: string;
  /** Seconds; null of one that is not in a URL. */
  expires: number | null;
  presigned: boolean;
}

/** What the signature says of the body, and what the signatures of its chunks go on from. */
export interface Verified {
  /** SHA-256 in hex, or one of the names that S3 has for bodies that are signed otherwise, or not. */
  payload: string;
  key: Buffer;
  date: string;
  scope: string;
  signature: string;
}

/** Keys made of a secret, a day and a region are the same for all requests of that day. */
const signingKeys = new LRUCache<string, Buffer>({ max: 1000 });

/** The access key that a request names, not checked yet; null if it is not signed. Throws R2Error for what is no signature. */
export function accessKeyOf(request: SignedRequest): string | null {
  return claimOf(request)?.accessKeyId ?? null;
}

/** Checks a request against the secret of the access key that it names. `now` in ms since 1970. Throws R2Error. */
export function verify(request: SignedRequest, secret: string, now: number): Verified {
  const claim = claimOf(request);
  if (!claim) throw new R2Error('AccessDenied', 'The request is not signed.');
  const { scope, signedHeaders, signature, date } = claim;
  checkTime(claim, now);
  const [day, region] = scope.split('/') as [string, string];
  if (day !== date.slice(0, 8)) throw malformed('its credential is of another day than its date');
  if (!REGIONS.has(region)) {
    throw new R2Error(
      'InvalidRegionName',
      `The region name "${region.slice(0, 32)}" is not valid. Must be one of: auto, us-east-1.`,
    );
  }
  checkHeaders(request, signedHeaders);
  const payload = payloadOf(request, claim);
  const canonical = [
    request.method,
    encodeKey(decode(request.path)),
    canonicalQuery(request.query),
    ...signedHeaders.map((name) => `${name}:${headerOf(request, name) ?? ''}`),
    '',
    signedHeaders.join(';'),
    payload,
  ].join('\n');
  const key = signingKey(secret, scope);
  const expected = hmac(key, [ALGORITHM, date, scope, sha256(canonical)].join('\n')).toString('hex');
  if (!isSame(expected, signature)) {
    throw new R2Error(
      'SignatureDoesNotMatch',
      'The request signature we calculated does not match the signature you provided. Check your secret access key and signing method.',
    );
  }
  return { payload, key, date, scope, signature };
}

/** The signature of a chunk (or of the trailers), which follows that of what was before it. */
export function chunkSignature(
  { key, date, scope }: Verified,
  kind: 'PAYLOAD' | 'TRAILER',
  before: string,
  hash: string,
): string {
  const empty = kind === 'PAYLOAD' ? [sha256('')] : [];
  return hmac(key, [`${ALGORITHM}-${kind}`, date, scope, before, ...empty, hash].join('\n')).toString('hex');
}

export function isSame(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

function claimOf(request: SignedRequest): Claim | null {
  const authorization = headerOf(request, 'authorization');
  const query = parseQuery(request.query);
  const parameter = (name: string) => query.find(([key]) => key === name)?.[1];
  if (parameter('X-Amz-Algorithm') !== undefined) {
    if (authorization !== undefined) throw malformed('only one way to sign is allowed');
    if (parameter('X-Amz-Algorithm') !== ALGORITHM) throw malformed(`its algorithm must be ${ALGORITHM}`);
    const expires = Number(parameter('X-Amz-Expires'));
    if (!Number.isInteger(expires) || expires < 1 || expires > MAX_EXPIRES_S) {
      throw malformed('X-Amz-Expires must be between 1 and 604800 seconds');
    }
    return {
      ...credentialOf(parameter('X-Amz-Credential')),
      signedHeaders: (parameter('X-Amz-SignedHeaders') ?? '').split(';'),
      signature: parameter('X-Amz-Signature') ?? '',
      date: parameter('X-Amz-Date') ?? '',
      expires,
      presigned: true,
    };
  }
  if (authorization === undefined) return null;
  const match = /^AWS4-HMAC-SHA256\s+(.*)$/.exec(authorization);
  if (!match) throw malformed(`its algorithm must be ${ALGORITHM}`);
  const parts = new Map(match[1]!.split(',').map((part) => part.trim().split('=', 2) as [string, string]));
  return {
    ...credentialOf(parts.get('Credential')),
    signedHeaders: (parts.get('SignedHeaders') ?? '').toLowerCase().split(';'),
    signature: parts.get('Signature') ?? '',
    date: headerOf(request, 'x-amz-date') ?? basicDate(headerOf(request, 'date')),
    expires: null,
    presigned: false,
  };
}

function credentialOf(text: string | undefined): Pick<Claim, 'accessKeyId' | 'scope'> {
  const match = /^([\w-]{1,128})\/(\d{8}\/[\w-]{0,32}\/s3\/aws4_request)$/.exec(text ?? '');
  if (!match) throw malformed('its credential must be <access key>/<YYYYMMDD>/<region>/s3/aws4_request');
  return { accessKeyId: match[1]!, scope: match[2]!.replace(/^(\d{8})\/\//, '$1/auto/') };
}

function checkTime({ date, expires }: Claim, now: number): void {
  const [, y, mo, d, h, mi, s] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(date) ?? [];
  const time = Date.parse(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`);
  if (Number.isNaN(time)) throw malformed('its date must be as 20261121T084500Z');
  const tooEarly = time - now > MAX_SKEW_MS;
  if (tooEarly || (expires === null && now - time > MAX_SKEW_MS)) {
    throw new R2Error(
      'RequestTimeTooSkewed',
      `The difference between the request time and the server's time is too large: it is ${new Date(now).toISOString()} here.`,
    );
  }
  if (expires !== null && now > time + expires * 1000) throw new R2Error('ExpiredRequest', 'Request has expired.');
}

/** What a signature leaves out somebody else could have put in. */
function checkHeaders({ rawHeaders }: SignedRequest, signed: string[]): void {
  if (!signed.includes('host')) throw malformed('the header host must be signed');
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase();
    if (name.startsWith('x-amz-') && !signed.includes(name)) {
      throw new R2Error('AccessDenied', `There were headers present in the request which were not signed: ${name}`);
    }
  }
}

function payloadOf(request: SignedRequest, { presigned }: Claim): string {
  const given =
    headerOf(request, 'x-amz-content-sha256') ??
    parseQuery(request.query).find(([name]) => name === 'X-Amz-Content-Sha256')?.[1];
  if (given === undefined && presigned) return UNSIGNED;
  if (given !== undefined && (PAYLOADS.has(given) || /^[0-9a-f]{64}$/.test(given))) return given;
  throw new R2Error(
    'InvalidRequest',
    'The header x-amz-content-sha256 must hold the SHA-256 of the body, or UNSIGNED-PAYLOAD.',
  );
}

/** All values of a header, joined as they are signed. */
function headerOf({ rawHeaders }: SignedRequest, name: string): string | undefined {
  const values: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (rawHeaders[i]!.toLowerCase() !== name) continue;
    values.push(
      Buffer.from(rawHeaders[i + 1]!, 'latin1')
        .toString()
        .trim()
        .replace(/ +/g, ' '),
    );
  }
  return values.length > 0 ? values.join(',') : undefined;
}

/** Names and values in their order, decoded. */
export function parseQuery(query: string): [name: string, value: string][] {
  if (query === '') return [];
  return query.split('&').map((pair) => {
    const at = pair.indexOf('=');
    const text = (part: string) => decode(part.replaceAll('+', ' '));
    return at < 0 ? [text(pair), ''] : [text(pair.slice(0, at)), text(pair.slice(at + 1))];
  });
}

function canonicalQuery(query: string): string {
  return parseQuery(query)
    .filter(([name]) => name !== 'X-Amz-Signature')
    .map((pair) => pair.map((part) => encodeKey(part).replaceAll('/', '%2F')) as [string, string])
    .sort(([a, x], [b, y]) => compare(a, b) || compare(x, y))
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
}

/** Throws R2Error for what is not encoded as UTF-8. */
export function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new R2Error('InvalidArgument', 'The URL is not encoded as UTF-8.');
  }
}

function signingKey(secret: string, scope: string): Buffer {
  const id = `${secret}/${scope}`;
  let key = signingKeys.get(id);
  if (!key) {
    key = scope.split('/').reduce<Buffer>((made, part) => hmac(made, part), Buffer.from(`AWS4${secret}`));
    signingKeys.set(id, key);
  }
  return key;
}

function basicDate(date: string | undefined): string {
  const time = date === undefined ? Number.NaN : Date.parse(date);
  return Number.isNaN(time) ? '' : new Date(time).toISOString().replace(/[-:]|\.\d+/g, '');
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function malformed(why: string): R2Error {
  return new R2Error('InvalidArgument', `The authorization of the request is not valid: ${why}.`);
}
