/**
 * The S3 API: one HTTP server, path style (`/bucket/key`) and virtual-host style (`bucket.<host>/key`). The account is that of the access key.
 */
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { corsHeaders, matchingRule } from '../cors.ts';
import type { Bucket } from '../documents.ts';
import { R2Error, type R2ErrorName } from '../limits.ts';
import type { R2 } from '../open.ts';
import { r2ErrorOf } from '../service.ts';
import type { Slurp } from '../slurp.ts';
import { Call, STALL_MS, type Target } from './call.ts';
import type { Credentials } from './credentials.ts';
import { operationOf } from './operations.ts';
import { accessKeyOf, decode, parseQuery, verify } from './signature.ts';
import { buildXml } from './xml.ts';

/** Of a body that was refused: what is longer loses its connection. */
const MAX_DRAINED_BYTES = 16 * 1024 * 1024;
const HEADERS_TIMEOUT_MS = 20_000;
const KEEP_ALIVE_MS = 65_000;
const MAX_HEADER_BYTES = 32 * 1024;
/** Errors that clients of S3 know by another name: rclone makes a bucket before each copy, and takes this one for success. */
const S3_NAMES: Partial<Record<R2ErrorName, string>> = {
  BucketConflict: 'BucketAlreadyOwnedByYou',
  UnequalParts: 'InvalidPart',
};

export interface S3Parts {
  r2: Pick<R2, 'ledger' | 'buckets' | 'objects' | 'uploads' | 'usage'>;
  slurp: Slurp;
  credentials: Credentials;
  /** Hosts below which the first label is a bucket's name. */
  hosts: readonly string[];
}

/** The caller lets it listen. */
export function createS3Server(parts: S3Parts): Server {
  const server = createServer(
    {
      keepAliveTimeout: KEEP_ALIVE_MS,
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: 0,
      maxHeaderSize: MAX_HEADER_BYTES,
      highWaterMark: 256 * 1024,
    },
    (request, response) => void serve(parts, request, response),
  );
  // "100 Continue" is said when the body is wanted.
  server.on('checkContinue', (request, response) => void serve(parts, request, response));
  server.timeout = STALL_MS;
  return server;
}

async function serve(parts: S3Parts, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const requestId = randomBytes(8).toString('hex').toUpperCase();
  response.setHeader('x-amz-request-id', requestId);
  let call: Call | null = null;
  try {
    const [path, query] = splitTarget(request.url ?? '/');
    const target = targetOf(parts.hosts, request.headers.host ?? '', path);
    const signed = { method: request.method ?? '', path, query, rawHeaders: request.rawHeaders };
    const origin = request.headers.origin;
    if (request.method === 'OPTIONS') return await preflight(parts, request, response, target, accessKeyOf(signed));
    const accessKey = accessKeyOf(signed);
    if (accessKey === null) throw new R2Error('AccessDenied', 'The request is not signed.');
    const { secret, token } = parts.credentials.find(accessKey);
    const verified = verify(signed, secret, Date.now());
    if (origin !== undefined && target.bucket !== null) {
      allowOrigin(response, await parts.r2.buckets.find(token.accountId, target.bucket), origin, signed.method);
    }
    call = new Call(parts, request, response, target, new Map(parseQuery(query)), token, verified);
    await operationOf(call)(call);
  } catch (error) {
    await fail(request, response, error, requestId, call?.bodyBegun ?? false);
  }
}

/** In the request line, still encoded. */
function splitTarget(url: string): [path: string, query: string] {
  const path = url.startsWith('/') ? url : new URL(url, 'http://s3').pathname;
  const at = path.indexOf('?');
  return at < 0 ? [path, ''] : [path.slice(0, at), path.slice(at + 1)];
}

/** What a request names. Throws R2Error for what is not encoded as UTF-8. */
export function targetOf(hosts: readonly string[], host: string, path: string): Target {
  const name = host.toLowerCase().replace(/:\d+$/, '');
  const below = isIP(name) ? undefined : hosts.find((each) => name.endsWith(`.${each}`));
  const rest = path.slice(1);
  if (below !== undefined) {
    const bucket = name.slice(0, -below.length - 1);
    return { bucket, key: rest === '' ? null : decode(rest) };
  }
  const at = rest.indexOf('/');
  if (rest === '') return { bucket: null, key: null };
  const bucket = decode(at < 0 ? rest : rest.slice(0, at));
  const key = at < 0 ? '' : rest.slice(at + 1);
  return { bucket, key: key === '' ? null : decode(key) };
}

function allowOrigin(response: ServerResponse, bucket: Bucket | null, origin: string, method: string): void {
  const rule = bucket && matchingRule(bucket.cors, { origin, method });
  if (rule) for (const [name, value] of Object.entries(corsHeaders(rule, origin))) response.setHeader(name, value);
}

/** A browser asks without credentials; a presigned URL names its access key, else the bucket's name must be enough. */
async function preflight(
  { r2, credentials }: S3Parts,
  { headers }: IncomingMessage,
  response: ServerResponse,
  { bucket: name }: Target,
  accessKey: string | null,
): Promise<void> {
  const { origin } = headers;
  const method = headers['access-control-request-method'];
  const list = headers['access-control-request-headers'] ?? '';
  const asked = list
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '');
  const account = accessKey === null ? undefined : credentials.find(accessKey).token.accountId;
  const named = name === null ? [] : (await r2.buckets.list(account)).filter((each) => each.name === name);
  const rule =
    named.length === 1 && origin && method ? matchingRule(named[0]!.cors, { origin, method, headers: asked }) : null;
  if (!rule) throw new R2Error('AccessDenied', 'CORSResponse: This CORS request is not allowed.');
  response.writeHead(204, corsHeaders(rule, origin!, { method: method!, headers: asked })).end();
}

async function fail(
  request: IncomingMessage,
  response: ServerResponse,
  thrown: unknown,
  requestId: string,
  bodyBegun: boolean,
): Promise<void> {
  // A client that went away is no failure of ours.
  if (request.destroyed && !request.complete) return;
  if (response.headersSent || response.destroyed) {
    // Half an answer must not look whole.
    if ((thrown as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') r2ErrorOf(thrown);
    response.destroy();
    return;
  }
  const error = r2ErrorOf(thrown);
  const Code = S3_NAMES[error.error] ?? error.error;
  const body = buildXml('Error', { Code, Message: error.message, RequestId: requestId }, false);
  // What nobody reads any more would be taken for the next request.
  const length = Number(request.headers['content-length'] ?? 0);
  const isEnd = !request.complete && (bodyBegun || length > MAX_DRAINED_BYTES || request.headers.expect !== undefined);
  response.writeHead(error.status, {
    'content-type': 'application/xml',
    'content-length': body.length,
    ...(isEnd && { connection: 'close' }),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
  if (!request.complete) drain(request);
}

/** Takes what a client still sends, so that it comes to read the answer; not for ever. */
function drain(request: IncomingMessage): void {
  let left = MAX_DRAINED_BYTES;
  request.on('error', () => undefined);
  // An iterator that was left keeps the body from flowing.
  request.removeAllListeners('readable');
  request.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) request.destroy();
  });
  request.resume();
}
