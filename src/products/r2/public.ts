/** Objects of public buckets, as the edge asks for them: GET and HEAD, under the bucket's CORS rules (https://developers.cloudflare.com/r2/buckets/public-buckets/). */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { BUCKET_OF_HEADER } from '../../model/storage-sockets.ts';
import { corsHeaders, matchingRule } from './cors.ts';
import type { Bucket } from './documents.ts';
import { noSuchBucket, noSuchKey, R2Error } from './limits.ts';
import type { R2 } from './open.ts';
import { answerWithObject } from './s3/objects.ts';
import { decode } from './s3/signature.ts';
import { r2ErrorOf } from './service.ts';
import type { Slurp } from './slurp.ts';

export interface PublicOptions {
  r2: Pick<R2, 'ledger' | 'buckets' | 'objects' | 'uploads' | 'usage'>;
  slurp: Slurp;
}

/** Its socket is for the edges alone: who is asked for stands in a header. The caller lets it listen. */
export function createPublicServer(options: PublicOptions): Server {
  // The edges decide how long connections are kept.
  return createServer({ keepAliveTimeout: 0, requestTimeout: 0, maxHeaderSize: 128 * 1024 }, (request, response) => {
    serve(options, request, response).catch((error: unknown) => fail(request, response, error));
  });
}

async function serve({ r2, slurp }: PublicOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const [accountId = '', name = '', id] = String(request.headers[BUCKET_OF_HEADER]).split('/');
  const bucket = await r2.buckets.get(accountId, name);
  if (bucket.id !== id) throw noSuchBucket();
  const method = request.method ?? '';
  const cors = crossOrigin(bucket, request, method);
  if (method === 'OPTIONS') {
    if (!cors) throw new R2Error('AccessDenied', 'No CORS rule of the bucket allows this.');
    return void response.writeHead(204, cors).end();
  }
  if (method !== 'GET' && method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD, OPTIONS');
    throw new R2Error('MethodNotAllowed', 'Objects are only read here.');
  }
  const path = (request.url ?? '/').split('?')[0]!;
  const key = decode(path.slice(1));
  if (key === '') throw noSuchKey();
  r2.usage.count(bucket, { classB: 1 });
  const object = (await r2.objects.find(bucket, key)) ?? (await slurp.take(bucket, key));
  if (!object) throw noSuchKey();
  await answerWithObject({ r2 }, bucket, object, { request, response, headers: cors ?? {} });
}

/** Fields for a page of another origin; null if no rule lets it. */
function crossOrigin(bucket: Bucket, { headers }: IncomingMessage, method: string): Record<string, string> | null {
  const { origin } = headers;
  if (origin === undefined) return null;
  if (method !== 'OPTIONS') {
    const rule = matchingRule(bucket.cors, { origin, method });
    return rule && corsHeaders(rule, origin);
  }
  const asked = headers['access-control-request-method'] ?? '';
  const list = (headers['access-control-request-headers'] ?? '')
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '');
  const rule = matchingRule(bucket.cors, { origin, method: asked, headers: list });
  return rule && corsHeaders(rule, origin, { method: asked, headers: list });
}

function fail(request: IncomingMessage, response: ServerResponse, thrown: unknown): void {
  if (response.headersSent || response.destroyed) {
    if ((thrown as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') r2ErrorOf(thrown);
    response.destroy();
    return;
  }
  const { status, message } = r2ErrorOf(thrown);
  // The names of buckets are nobody's business.
  const text = status === 404 ? 'Object not found\n' : `${message}\n`;
  request.resume();
  response.writeHead(status, { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(text) });
  response.end(request.method === 'HEAD' ? undefined : text);
}
