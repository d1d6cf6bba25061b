/**
 * What KV bindings of one isolate process talk to: the runtime's own protocol over HTTP on a socket of the process. The namespace stands in
 * a header that the process's system Worker sets; which ones the process may name was said when it was attached. Errors are a status with
 * its reason, which is all that the runtime passes on.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { json } from 'node:stream/consumers';
import { log, reason } from '../../model/log.ts';
import { Overloaded } from '../../state/threaded-ledger.ts';
import { drained } from '../drained.ts';
import { decodeCursor, encodeCursor } from './cursor.ts';
import { checkCacheTtl, checkKey, checkMetadata, expirationOf, KV, KvError, listLimit } from './limits.ts';
import type { Namespaces } from './namespaces.ts';
import type { KvStore } from './store.ts';

/** Of a body that was refused: what is longer loses its connection. */
const MAX_DRAINED_BYTES = 4 * KV.valueBytes;
/** Body of a bulk read: 100 keys as JSON. */
const MAX_BULK_BYTES = 512 * 1024;

export interface KvServiceOptions {
  store: KvStore;
  namespaces: Namespaces;
  accountId: string;
  /** Ids that the process may name. */
  allowed: string[];
  /** Counts an operation; false above what requests may make. */
  take(): boolean | Promise<boolean>;
  /** The process may keep this key from now on. */
  onRead(namespace: string, key: string): void;
  /** These keys were written; resolves when no process keeps what was there before. */
  written(namespace: string, keys: string[]): Promise<void>;
}

/** The server of `kv.sock` of one isolate process; the caller lets it listen. */
export function createKvService(options: KvServiceOptions): Server {
  const allowed = new Set(options.allowed);
  // The runtime decides how long connections are kept: closing idle ones would race with its next request.
  return createServer({ keepAliveTimeout: 0, requestTimeout: 0 }, (request, response) => {
    answer(options, allowed, request, response).catch(async (error: unknown) => {
      await drained(request, MAX_DRAINED_BYTES);
      fail(response, error);
    });
  });
}

async function answer(
  options: KvServiceOptions,
  allowed: Set<string>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { store } = options;
  const namespace = String(request.headers['selvedge-kv']);
  if (!allowed.has(namespace)) throw new KvError(400, 'this Worker does not bind the namespace');
  if (!(await options.take())) throw new KvError(429, 'Too many API requests by single Worker invocation.');
  const url = new URL(request.url!, 'http://kv');
  const { method } = request;
  const query = url.searchParams;
  if (url.pathname === '/') {
    if (method !== 'GET') throw new KvError(400, 'Key names must not be empty');
    return sendJson(response, await list(store, namespace, query));
  }
  if (method === 'POST' && url.pathname === '/bulk/get') {
    return sendJson(response, await bulkGet(store, namespace, request));
  }
  const key = decodeURIComponent(url.pathname.slice(1));
  checkKey(key);
  if (method === 'GET') {
    checkCacheTtl(query.get('cache_ttl'));
    // Before it is read: a write that comes meanwhile is told to the process.
    options.onRead(namespace, key);
    return get(store, namespace, key, response);
  }
  if (!(await options.namespaces.find(options.accountId, namespace)))
    throw new KvError(400, 'the namespace was deleted');
  if (method === 'PUT') {
    const metadata = header(request, 'cf-kv-metadata');
    if (metadata !== undefined) checkMetadata(metadata);
    const given = { expiration: query.get('expiration'), ttl: query.get('expiration_ttl') };
    const expiration = expirationOf(given, Date.now() / 1000);
    const length = Number(request.headers['content-length'] ?? 0);
    if (length > KV.valueBytes) throw new KvError(413, `Value length of ${length} exceeds limit of ${KV.valueBytes}.`);
    await store.put(namespace, [{ key, value: request, expiration, metadata }]);
  } else if (method === 'DELETE') await store.delete(namespace, [key]);
  else throw new KvError(400, `there is no ${method} here`);
  await options.written(namespace, [key]);
  response.end();
}

async function get(store: KvStore, namespace: string, key: string, response: ServerResponse): Promise<void> {
  const value = await store.get(namespace, key);
  if (!value) return void response.writeHead(404).end();
  response.setHeader('content-length', value.size);
  if (value.expiration !== null) response.setHeader('selvedge-kv-expires', value.expiration);
  if (value.metadata !== null) response.setHeader('cf-kv-metadata', Buffer.from(value.metadata).toString('latin1'));
  // A Buffer in any case: behind a string Node would send the headers as UTF-8.
  if (!(value.body instanceof Readable)) return void response.end(value.body);
  const { body } = value;
  body.once('error', (error) => {
    log('error', 'a value of KV cannot be read', { namespace, error: reason(error) });
    response.destroy();
  });
  response.once('close', () => body.destroy());
  body.pipe(response);
}

async function list(store: KvStore, namespace: string, query: URLSearchParams) {
  const cursor = query.get('cursor');
  const { keys, next } = await store.list(namespace, {
    prefix: query.get('prefix') ?? '',
    limit: listLimit(query.get('key_count_limit')),
    after: cursor ? decodeCursor(cursor) : undefined,
  });
  return { keys, list_complete: next === null, ...(next !== null && { cursor: encodeCursor(next) }) };
}

async function bulkGet(store: KvStore, namespace: string, request: IncomingMessage) {
  if (Number(request.headers['content-length'] ?? 0) > MAX_BULK_BYTES)
    throw new KvError(413, 'The list of keys is too long.');
  const asked = (await json(request)) as { keys: string[]; type?: string; withMetadata?: boolean; cacheTtl?: string };
  if (asked.keys.length > KV.bulkGetKeys) {
    throw new KvError(400, `You can request a maximum of ${KV.bulkGetKeys} keys`);
  }
  if (asked.keys.length === 0) throw new KvError(400, 'You must request a minimum of 1 key');
  const type = asked.type ?? 'text';
  if (type !== 'text' && type !== 'json') {
    throw new KvError(400, `"${type}" is not a valid type. Use "json" or "text"`);
  }
  checkCacheTtl(asked.cacheTtl);
  asked.keys.forEach(checkKey);
  return store.bulkGet(namespace, asked.keys, type, asked.withMetadata === true);
}

/** A header's text: Node reads bytes as latin1. */
function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === 'string' ? Buffer.from(value, 'latin1').toString() : undefined;
}

function sendJson(response: ServerResponse, value: unknown): void {
  response.setHeader('content-type', 'application/json');
  response.end(Buffer.from(JSON.stringify(value)));
}

function fail(response: ServerResponse, error: unknown): void {
  if (response.headersSent || response.destroyed) return void response.destroy();
  if (error instanceof KvError) response.writeHead(error.status, safe(error.message));
  else if (error instanceof Overloaded) response.writeHead(503, 'too many writes wait for the disk');
  else {
    log('error', 'KV failed', { error: reason(error) });
    response.writeHead(500, 'KV failed; the log of the machine says why');
  }
  response.end();
}

/** For a status line. */
function safe(text: string): string {
  return text.replace(/[^ -~]/g, '?').slice(0, 300);
}
