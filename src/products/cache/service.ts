/**
 * What `caches` of one isolate process talks to, in the runtime's own protocol: GET of the URL (a hit says so in CF-Cache-Status), PUT of a
 * whole response as the body, PURGE. Who asks is known by the socket; nothing that it sends chooses another account's entries.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import { log, reason } from '../../model/log.ts';
import { byteRange, matchesNone } from '../assets/conditional.ts';
import { type Headers, headerOf, keepable } from './rules.ts';
import { type CacheKey, type CacheStore, TooLarge } from './store.ts';

const MAX_HEAD_BYTES = 128 * 1024;
const MAX_NAMESPACE = 1024;
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'transfer-encoding',
  'content-length',
  'upgrade',
  'trailer',
  'te',
]);

export interface CacheServiceOptions {
  store: CacheStore;
  /** Whose entries of this host the Worker shares. */
  scope: (host: string) => string;
  /** Counts an operation; false above what requests may make. */
  take(): boolean | Promise<boolean>;
}

/** The server of `cache.sock` of one isolate process; the caller lets it listen. */
export function createCacheService(options: CacheServiceOptions): Server {
  return createServer({ requireHostHeader: false, keepAliveTimeout: 0, requestTimeout: 0 }, (request, response) => {
    answer(options, request, response).catch((error: unknown) => {
      if (!(error instanceof TooLarge)) log('debug', 'the Cache API failed', { error: reason(error) });
      if (response.headersSent) return void response.destroy();
      // 413 and a miss are what Workers expect of a cache that does not keep something.
      request.resume();
      if (request.method === 'PUT') response.writeHead(413).end();
      else miss(response);
    });
  });
}

async function answer(options: CacheServiceOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const key = keyOf(options, request);
  if (!key || !(await options.take())) {
    request.resume();
    if (request.method === 'PUT') return void response.writeHead(413).end();
    return request.method === 'PURGE' ? void response.writeHead(429).end() : miss(response);
  }
  switch (request.method) {
    case 'PUT':
      await put(options.store, key, request);
      return void response.writeHead(204).end();
    case 'PURGE':
      return void response.writeHead(options.store.delete(key) ? 200 : 404).end();
    default:
      return match(options.store, key, request, response);
  }
}

/** Null for what is no key. */
function keyOf({ scope }: CacheServiceOptions, request: IncomingMessage): CacheKey | null {
  const url = URL.parse(request.url ?? '');
  const namespace = String(request.headers['cf-cache-namespace'] ?? '');
  if (!url || !/^https?:$/.test(url.protocol) || namespace.length > MAX_NAMESPACE) return null;
  url.hash = '';
  return { scope: scope(url.hostname), namespace, url: url.href };
}

async function match(
  store: CacheStore,
  key: CacheKey,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  request.resume();
  const entry = store.find(key);
  if (!entry) return miss(response);
  const { headers: asked } = request;
  const etag = headerOf(entry.headers, 'etag');
  const age = Math.floor((Date.now() - entry.storedAt) / 1000);
  const headers: Headers = [...entry.headers, ['CF-Cache-Status', 'HIT'], ['Age', String(age)]];
  if (isUnchanged(asked, etag, headerOf(entry.headers, 'last-modified'))) return send(response, 304, '', headers, null);
  const range =
    entry.status === 200 ? byteRange(asked.range, asked['if-range']?.toString(), etag ?? '', entry.size) : null;
  if (range === 'unsatisfiable') {
    return send(response, 416, '', [...headers, ['Content-Range', `bytes */${entry.size}`]], Buffer.alloc(0));
  }
  const body = await store.body(key, entry, range ?? undefined);
  if (!body) return miss(response);
  if (range) {
    const { start, end } = range;
    headers.push(['Content-Range', `bytes ${start}-${end}/${entry.size}`], ['Content-Length', String(end - start + 1)]);
    return send(response, 206, '', headers, body);
  }
  headers.push(['Content-Length', String(entry.size)]);
  return send(response, entry.status, entry.statusText, headers, body);
}

/** If-None-Match wins over If-Modified-Since (RFC 9110, 13.2.2). */
function isUnchanged(asked: IncomingMessage['headers'], etag?: string, modified?: string): boolean {
  const none = asked['if-none-match'];
  if (none !== undefined) return etag !== undefined && matchesNone(none, etag.replace(/^W\//, ''));
  const since = asked['if-modified-since'];
  return since !== undefined && modified !== undefined && Date.parse(modified) <= Date.parse(since);
}

function send(
  response: ServerResponse,
  status: number,
  text: string,
  headers: Headers,
  body: Buffer | Readable | null,
): void {
  // Bytes as latin1, as they came; a Buffer behind them, or Node would send the head as UTF-8.
  response.writeHead(status, text || undefined, headers.flat());
  if (body === null || Buffer.isBuffer(body)) return void response.end(body ?? Buffer.alloc(0));
  body.once('error', () => response.destroy());
  response.once('close', () => body.destroy());
  body.pipe(response);
}

/** 504: what RFC 9111, 5.2.1.7, answers to only-if-cached when nothing is stored. */
function miss(response: ServerResponse): void {
  response.writeHead(504, { 'CF-Cache-Status': 'MISS' }).end();
}

async function put(store: CacheStore, key: CacheKey, request: IncomingMessage): Promise<void> {
  const chunks = (request as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  const { status, statusText, headers, rest } = await readHead(chunks);
  const kept = keepable(key.url, status, headers);
  if (!kept) throw new TooLarge('this response is not to be cached');
  const now = Date.now();
  const body = async function* () {
    if (rest.length > 0) yield rest;
    for (let next = await chunks.next(); !next.done; next = await chunks.next()) yield next.value;
    // A body that breaks off ends the iteration too.
    if (!request.complete) throw new Error('the response was not complete');
  };
  const entry = { status, statusText, headers: kept.headers, storedAt: now, expiresAt: now + kept.ttl * 1000 };
  await store.put(key, entry, body());
}

/** The head of the response in the body; what is behind it is its body as it is, whatever framing it claims. */
async function readHead(chunks: AsyncIterator<Buffer>) {
  let bytes = Buffer.alloc(0);
  for (;;) {
    const end = bytes.indexOf('\r\n\r\n');
    if (end >= 0) {
      const [first = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
      const [, status, statusText = ''] = /^HTTP\/1\.1 (\d{3}) ?(.*)$/.exec(first) ?? [];
      if (!status) throw new Error('no response');
      const headers = lines
        .map((line): Headers[number] => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()])
        .filter(([name]) => !HOP_BY_HOP.has(name.toLowerCase()) && !/^(?:cf-cache-status|age)$/i.test(name));
      return { status: Number(status), statusText, headers, rest: bytes.subarray(end + 4) };
    }
    if (bytes.length > MAX_HEAD_BYTES) throw new TooLarge('the head is too long');
    const { done, value } = await chunks.next();
    if (done) throw new Error('no response');
    bytes = Buffer.concat([bytes, value]);
  }
}
