/**
 * KV's part of the v4 API: namespaces, values and bulk operations
 * (https://developers.cloudflare.com/api/resources/kv/subresources/namespaces/).
 */
import { Readable } from 'node:stream';
import { z } from '@hono/zod-openapi';
import { type ApiContext, type App, define, Paging, pageOf, reply } from '../../core/app.ts';
import { readBody, readJson } from '../../core/body.ts';
import type { CoreContext } from '../../core/context.ts';
import { ApiError } from '../../core/errors.ts';
import { serialized } from '../../core/serialize.ts';
import type { Account } from '../../model/documents.ts';
import { log, reason } from '../../model/log.ts';
import { decodeCursor, encodeCursor } from './cursor.ts';
import { checkKey, checkMetadata, expirationOf, KV, KvError, listLimit } from './limits.ts';
import type { Namespace } from './namespaces.ts';
import type { KvPut } from './store.ts';

const BASE = '/accounts/{account_id}/storage/kv/namespaces';
const ONE = `${BASE}/{namespace_id}`;
/** Multipart adds boundaries and metadata to a value. */
const VALUE_BODY_BYTES = KV.valueBytes + 64 * 1024;
const WRITTEN_TIMEOUT_MS = 5_000;

const Title = z.object({ title: z.string().trim().min(1).max(KV.titleLength) });
const BulkPut = z
  .array(
    z.object({
      key: z.string(),
      value: z.string(),
      base64: z.boolean().nullish(),
      expiration: z.number().nullish(),
      expiration_ttl: z.number().nullish(),
      metadata: z.unknown().optional(),
    }),
  )
  .max(KV.bulkWriteKeys);
const Keys = z.array(z.string()).max(KV.bulkWriteKeys);

export function registerKv(app: App, context: CoreContext): void {
  const { namespaces, store } = context.kv;

  define(
    app,
    context,
    { method: 'get', path: BASE, summary: 'Lists KV namespaces', query: NamespacePaging },
    async ({ account, query }) => {
      const all = await namespaces.list(account.id);
      if (query.direction === 'desc') all.reverse();
      return pageOf(all.map(namespaceShape), query);
    },
  );

  define(
    app,
    context,
    { method: 'post', path: BASE, summary: 'Creates a KV namespace', body: Title },
    ({ account, body }) =>
      serialized(`kv/${account.id}`, async () => {
        const all = await namespaces.list(account.id);
        requireFree(all, body.title);
        if (all.length >= KV.namespacesPerAccount) {
          throw new ApiError(10037, `An account has at most ${KV.namespacesPerAccount} KV namespaces.`);
        }
        return namespaceShape(await namespaces.create(account.id, body.title));
      }),
  );

  define(app, context, { method: 'get', path: ONE, summary: 'Shows a KV namespace' }, async ({ account, params }) =>
    namespaceShape(await requireNamespace(context, account, params)),
  );

  define(
    app,
    context,
    { method: 'put', path: ONE, summary: 'Renames a KV namespace', body: Title },
    ({ account, params, body }) =>
      serialized(`kv/${account.id}`, async () => {
        const namespace = await requireNamespace(context, account, params);
        if (namespace.title !== body.title) requireFree(await namespaces.list(account.id), body.title);
        return namespaceShape(await namespaces.rename(namespace, body.title));
      }),
  );

  define(
    app,
    context,
    { method: 'delete', path: ONE, summary: 'Deletes a KV namespace with all that is in it' },
    async ({ account, params }) => {
      const namespace = await requireNamespace(context, account, params);
      await namespaces.remove(namespace);
      await store.clear(namespace.id);
      await tellWritten(context, namespace.id, null);
      return null;
    },
  );

  define(
    app,
    context,
    { method: 'get', path: `${ONE}/keys`, summary: 'Lists the keys of a KV namespace', query: KeyPaging },
    async ({ account, params, query }) => {
      const { id } = await requireNamespace(context, account, params);
      const limit = checked(() => listLimit(query.limit));
      const after = query.cursor ? checked(() => decodeCursor(query.cursor!)) : undefined;
      const { keys, next } = await store.list(id, { prefix: query.prefix, limit, after });
      return reply(keys, { info: { count: keys.length, cursor: next === null ? '' : encodeCursor(next) } });
    },
  );

  define(
    app,
    context,
    { method: 'get', path: `${ONE}/values/{key}`, summary: 'Reads a value' },
    async ({ c, account, params }) => {
      const { id } = await requireNamespace(context, account, params);
      const value = await store.get(id, keyOf(c));
      if (!value) throw new ApiError(10009, "get: 'key not found'");
      return new Response(
        value.body instanceof Readable ? (Readable.toWeb(value.body) as ReadableStream) : new Uint8Array(value.body),
        {
          headers: {
            'content-type': 'application/octet-stream',
            'content-length': String(value.size),
            ...(value.expiration !== null && { expiration: String(value.expiration) }),
          },
        },
      );
    },
  );

  define(
    app,
    context,
    { method: 'get', path: `${ONE}/metadata/{key}`, summary: 'Reads the metadata of a value' },
    async ({ c, account, params }) => {
      const { id } = await requireNamespace(context, account, params);
      const value = await store.get(id, keyOf(c));
      if (!value) throw new ApiError(10009, "get: 'key not found'");
      if (value.body instanceof Readable) value.body.destroy();
      return value.metadata === null ? null : JSON.parse(value.metadata);
    },
  );

  define(
    app,
    context,
    {
      method: 'put',
      path: `${ONE}/values/{key}`,
      summary: 'Writes a value',
      query: z.object({ expiration: z.string().optional(), expiration_ttl: z.string().optional() }),
      rawBody: 'application/octet-stream',
    },
    async ({ c, account, params, query }) => {
      const { id } = await requireNamespace(context, account, params);
      const key = keyOf(c);
      const { value, metadata } = await readValue(c.req.raw);
      const expiration = checked(() =>
        expirationOf({ expiration: query.expiration, ttl: query.expiration_ttl }, Date.now() / 1000),
      );
      await write(context, id, [{ key, value, metadata, expiration }]);
      return null;
    },
  );

  define(
    app,
    context,
    { method: 'delete', path: `${ONE}/values/{key}`, summary: 'Deletes a value' },
    async ({ c, account, params }) => {
      const { id } = await requireNamespace(context, account, params);
      await remove(context, id, [keyOf(c)]);
      return null;
    },
  );

  define(
    app,
    context,
    { method: 'put', path: `${ONE}/bulk`, summary: 'Writes up to 10,000 values', rawBody: 'application/json' },
    async ({ c, account, params }) => {
      const { id } = await requireNamespace(context, account, params);
      const pairs = await readList(c.req.raw, BulkPut);
      const now = Date.now() / 1000;
      const puts = checked(() =>
        pairs.map(({ key, value, base64, expiration, expiration_ttl: ttl, metadata }): KvPut => {
          checkKey(key);
          const text = metadata === undefined || metadata === null ? undefined : JSON.stringify(metadata);
          if (text !== undefined) checkMetadata(text);
          const bytes = Buffer.from(value, base64 ? 'base64' : 'utf8');
          return { key, value: bytes, metadata: text, expiration: expirationOf({ expiration, ttl }, now) };
        }),
      );
      // Of a key that is named twice the last value counts.
      const last = [...new Map(puts.map((put) => [put.key, put])).values()];
      await write(context, id, last);
      return { successful_key_count: puts.length, unsuccessful_keys: [] };
    },
  );

  for (const [method, path] of [
    ['delete', `${ONE}/bulk`],
    ['post', `${ONE}/bulk/delete`],
  ] as const) {
    define(
      app,
      context,
      { method, path, summary: 'Deletes up to 10,000 values', rawBody: 'application/json' },
      async ({ c, account, params }) => {
        const { id } = await requireNamespace(context, account, params);
        const keys = await readList(c.req.raw, Keys);
        checked(() => keys.forEach(checkKey));
        await remove(context, id, [...new Set(keys)]);
        return { successful_key_count: keys.length, unsuccessful_keys: [] };
      },
    );
  }

  define(
    app,
    context,
    {
      method: 'post',
      path: `${ONE}/bulk/get`,
      summary: 'Reads up to 100 values',
      body: z.object({
        keys: z.array(z.string()).min(1).max(KV.bulkGetKeys),
        type: z.enum(['text', 'json']).default('text'),
        withMetadata: z.boolean().default(false),
      }),
    },
    async ({ account, params, body }) => {
      const { id } = await requireNamespace(context, account, params);
      checked(() => body.keys.forEach(checkKey));
      return { values: await checkedAsync(() => store.bulkGet(id, body.keys, body.type, body.withMetadata)) };
    },
  );
}

const NamespacePaging = Paging.extend({
  order: z.enum(['id', 'title']).default('id'),
  direction: z.enum(['asc', 'desc']).default('asc'),
});
const KeyPaging = z.object({
  limit: z.string().optional(),
  prefix: z.string().optional(),
  cursor: z.string().optional(),
});

function namespaceShape({ id, title }: Namespace) {
  return { id, title, supports_url_encoding: true };
}

function requireFree(all: Namespace[], title: string): void {
  if (all.some((other) => other.title === title)) {
    throw new ApiError(10014, 'A namespace with this account ID and title already exists.');
  }
}

/** A namespace of another account is answered as one that is not there. */
async function requireNamespace(
  { kv }: CoreContext,
  account: Account,
  params: Record<string, string>,
): Promise<Namespace> {
  const namespace = await kv.namespaces.find(account.id, params.namespace_id!);
  if (!namespace) throw new ApiError(10013, 'namespace not found');
  return namespace;
}

/** The key at the end of the path, which clients encode; slashes may stand as they are. */
function keyOf(c: ApiContext): string {
  const raw = new URL(c.req.url).pathname.split('/').slice(10).join('/');
  return checked(() => {
    let key: string;
    try {
      key = decodeURIComponent(raw);
    } catch {
      throw new KvError(400, 'The key in the path is not encoded as UTF-8.');
    }
    checkKey(key);
    return key;
  });
}

/** A value as it comes: raw, or as the part `value` of a form with the part `metadata`. */
async function readValue(request: Request): Promise<{ value: Buffer | Readable; metadata?: string }> {
  const type = request.headers.get('content-type') ?? '';
  if (!/^multipart\/form-data\b/i.test(type)) {
    return { value: request.body ? Readable.fromWeb(request.body as never) : Buffer.alloc(0) };
  }
  const bytes = await readBody(request, VALUE_BODY_BYTES);
  const form = await new Response(new Uint8Array(bytes), { headers: { 'content-type': type } })
    .formData()
    .catch(() => null);
  const value = form?.get('value');
  if (value === null || value === undefined)
    throw new ApiError(10001, 'body: a form with the part "value" is expected.');
  const metadata = form!.get('metadata');
  const text = metadata === null ? undefined : typeof metadata === 'string' ? metadata : await metadata.text();
  if (text !== undefined) checked(() => checkMetadata(text));
  return {
    value: typeof value === 'string' ? Buffer.from(value) : Buffer.from(await value.arrayBuffer()),
    ...(text !== undefined && text !== 'null' && { metadata: text }),
  };
}

async function readList<T extends z.ZodType>(request: Request, schema: T): Promise<z.output<T>> {
  const parsed = schema.safeParse(await readJson(request, KV.bulkWriteBytes));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new ApiError(10001, `body${issue.path.map((part) => `[${String(part)}]`).join('')}: ${issue.message}`);
}

async function write(context: CoreContext, namespace: string, puts: KvPut[]): Promise<void> {
  await checkedAsync(() => context.kv.store.put(namespace, puts));
  await tellWritten(
    context,
    namespace,
    puts.map(({ key }) => key),
  );
}

async function remove(context: CoreContext, namespace: string, keys: string[]): Promise<void> {
  await context.kv.store.delete(namespace, keys);
  await tellWritten(context, namespace, keys);
}

/** Workers see the write when this resolves: what their processes keep of the keys (null: of all) is dropped. */
async function tellWritten({ bus }: CoreContext, namespace: string, keys: string[] | null): Promise<void> {
  try {
    await bus.request('local.kv-written', { namespace, keys }, { timeoutMs: WRITTEN_TIMEOUT_MS });
  } catch (error) {
    // It is written; what processes keep ends by itself.
    log('warn', 'a write to KV could not be told', { error: reason(error) });
  }
}

function checked<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw toApiError(error);
  }
}

async function checkedAsync<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw toApiError(error);
  }
}

function toApiError(error: unknown): unknown {
  if (!(error instanceof KvError)) return error;
  return new ApiError(error.status === 413 ? 10003 : 10001, error.message);
}
