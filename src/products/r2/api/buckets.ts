/**
 * R2's part of the v4 API: buckets, and objects as wrangler puts and gets them
 * (https://developers.cloudflare.com/api/resources/r2/subresources/buckets/).
 */
import { Readable } from 'node:stream';
import { z } from '@hono/zod-openapi';
import { type ApiContext, type App, reply } from '../../../core/app.ts';
import type { CoreContext } from '../../../core/context.ts';
import type { Bucket, StoredObject } from '../documents.ts';
import { checkObjectKey, maxKeys, noSuchKey, R2Error } from '../limits.ts';
import { decodeCursor, encodeCursor, listObjects } from '../listing.ts';
import { checkMetadata, headersOf, httpFieldsOf, storageClassOf } from '../metadata.ts';
import { parseRange } from '../ranges.ts';
import { BUCKET, BUCKETS, defineR2, requireBucket } from './define.ts';
import { removeDomainsOf } from './domains.ts';

const NewBucket = z.object({
  name: z.string(),
  locationHint: z.string().max(32).nullish(),
  storageClass: z.string().nullish(),
});
const BucketList = z.object({
  name_contains: z.string().optional(),
  start_after: z.string().optional(),
  per_page: z.coerce.number().int().min(1).max(1000).default(1000),
  cursor: z.string().optional(),
  direction: z.enum(['asc', 'desc']).default('asc'),
  order: z.string().optional(),
});
const ObjectList = z.object({
  prefix: z.string().optional(),
  delimiter: z.string().optional(),
  cursor: z.string().optional(),
  start_after: z.string().optional(),
  per_page: z.string().optional(),
});

export function registerR2Buckets(app: App, context: CoreContext): void {
  const { buckets, ledger, objects, usage } = context.r2;

  defineR2(
    app,
    context,
    { method: 'get', path: BUCKETS, summary: 'Lists R2 buckets', query: BucketList },
    async ({ account, query }) => {
      const all = (await buckets.list(account.id)).filter(({ name }) => name.includes(query.name_contains ?? ''));
      if (query.direction === 'desc') all.reverse();
      const behind = query.cursor ?? query.start_after ?? '';
      const from = behind === '' ? 0 : all.findIndex(({ name }) => name === behind) + 1;
      const page = all.slice(from, from + query.per_page);
      const more = from + page.length < all.length;
      return reply(
        { buckets: page.map(bucketShape) },
        { info: { per_page: query.per_page, ...(more && { cursor: page.at(-1)!.name }) } },
      );
    },
  );

  defineR2(
    app,
    context,
    { method: 'post', path: BUCKETS, summary: 'Creates an R2 bucket', body: NewBucket },
    async ({ c, account, body }) =>
      bucketShape(
        await buckets.create(account.id, body.name, {
          ...(body.locationHint && { location: body.locationHint.toUpperCase() }),
          ...(c.req.header('cf-r2-jurisdiction') && { jurisdiction: c.req.header('cf-r2-jurisdiction')! }),
          storageClass: storageClassOf(body.storageClass ?? undefined, 'Standard'),
        }),
      ),
  );

  defineR2(app, context, { method: 'get', path: BUCKET, summary: 'Shows an R2 bucket' }, async ({ account, params }) =>
    bucketShape(await requireBucket(context, account, params)),
  );

  defineR2(
    app,
    context,
    { method: 'patch', path: BUCKET, summary: 'Changes the storage class that new objects of a bucket get' },
    async ({ c, account, params }) => {
      const { name } = await requireBucket(context, account, params);
      const storageClass = storageClassOf(c.req.header('cf-r2-storage-class'), 'Standard');
      return bucketShape(await buckets.change(account.id, name, { storageClass }));
    },
  );

  defineR2(
    app,
    context,
    { method: 'delete', path: BUCKET, summary: 'Deletes an empty R2 bucket' },
    async ({ account, params }) => {
      const bucket = await buckets.remove(account.id, params.bucket_name!);
      await removeDomainsOf(context, account, bucket);
      return {};
    },
  );

  defineR2(
    app,
    context,
    { method: 'get', path: `${BUCKET}/objects`, summary: 'Lists the objects of a bucket', query: ObjectList },
    async ({ account, params, query }) => {
      const bucket = await requireBucket(context, account, params);
      usage.count(bucket, { classA: 1 });
      const after = query.cursor
        ? decodeCursor(query.cursor)
        : query.start_after
          ? { key: query.start_after }
          : undefined;
      const found = await listObjects(ledger, bucket, {
        prefix: query.prefix,
        delimiter: query.delimiter,
        limit: maxKeys(query.per_page),
        ...(after && { after }),
      });
      return reply(
        found.objects.map(({ key, object }) => objectShape(key, object)),
        {
          info: {
            ...(found.next && { cursor: encodeCursor(found.next) }),
            count: found.objects.length,
            is_truncated: found.next !== null,
            delimited: found.prefixes,
          },
        },
      );
    },
  );

  const OBJECT = `${BUCKET}/objects/{object_key*}`;
  defineR2(
    app,
    context,
    { method: 'get', path: OBJECT, summary: 'Reads an object' },
    async ({ c, account, params }) => {
      const bucket = await requireBucket(context, account, params);
      const key = keyOf(c);
      usage.count(bucket, { classB: 1 });
      const object = await objects.find(bucket, key);
      if (!object) throw noSuchKey();
      const range = parseRange(c.req.header('range'), object.size);
      const length = range ? range.end - range.start + 1 : object.size;
      usage.count(bucket, { egressBytes: length });
      const chunks = objects.read(object, range ?? undefined);
      // A body that is damaged at its beginning can still be answered with an error.
      const first = await chunks.next();
      const body = Readable.from(startingWith(first, chunks), { objectMode: false });
      return new Response(length === 0 ? null : (Readable.toWeb(body) as ReadableStream), {
        status: range ? 206 : 200,
        headers: {
          'content-type': 'application/octet-stream',
          ...headersOf(object.http),
          etag: `"${object.etag}"`,
          'last-modified': new Date(object.uploaded).toUTCString(),
          'content-length': String(length),
          ...(range && { 'content-range': `bytes ${range.start}-${range.end}/${object.size}` }),
        },
      });
    },
  );

  defineR2(
    app,
    context,
    { method: 'put', path: OBJECT, summary: 'Stores an object', rawBody: 'application/octet-stream' },
    async ({ c, account, params }) => {
      const bucket = await requireBucket(context, account, params);
      const key = keyOf(c);
      usage.count(bucket, { classA: 1, ingressBytes: Number(c.req.header('content-length') ?? 0) });
      const body = (c.req.raw.body ?? []) as AsyncIterable<Uint8Array>;
      const object = await objects.put(bucket, key, body, {
        metadata: checkMetadata({
          http: httpFieldsOf(c.req.header()),
          custom: [],
          storageClass: storageClassOf(c.req.header('cf-r2-storage-class'), bucket.storageClass),
        }),
      });
      return objectShape(key, object!);
    },
  );

  defineR2(
    app,
    context,
    { method: 'delete', path: OBJECT, summary: 'Deletes an object' },
    async ({ c, account, params }) => {
      const bucket = await requireBucket(context, account, params);
      const key = keyOf(c);
      await objects.delete(bucket, [key]);
      return { key };
    },
  );
}

async function* startingWith(first: IteratorResult<Buffer>, rest: AsyncGenerator<Buffer>) {
  if (!first.done) yield first.value;
  yield* rest;
}

function bucketShape({ name, createdOn, location, storageClass, jurisdiction }: Bucket) {
  return { name, creation_date: createdOn, location, storage_class: storageClass, jurisdiction };
}

function objectShape(key: string, { etag, uploaded, http, custom, size, storageClass }: StoredObject) {
  return {
    key,
    etag,
    last_modified: new Date(uploaded).toISOString(),
    size,
    http_metadata: http,
    custom_metadata: Object.fromEntries(custom),
    storage_class: storageClass,
  };
}

/** The key at the end of the path, which clients encode; slashes stand as they are, also several. */
function keyOf(c: ApiContext): string {
  const raw = /\/objects\/(.*)$/.exec(new URL(c.req.url).pathname)?.[1] ?? '';
  let key: string;
  try {
    key = decodeURIComponent(raw);
  } catch {
    throw new R2Error('InvalidObjectName', 'The key in the path is not encoded as UTF-8.');
  }
  checkObjectKey(key);
  return key;
}
