/** Objects in the S3 API (https://developers.cloudflare.com/r2/api/s3/api/#object-level-operations). */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { conditionsOf, evaluate } from '../conditions.ts';
import type { Bucket, Checksums, ObjectMetadata, StoredObject } from '../documents.ts';
import { checkObjectKey, noSuchKey, preconditionFailed, R2, R2Error } from '../limits.ts';
import { checkMetadata, headersOf, httpFieldsOf, isFieldValue, storageClassOf } from '../metadata.ts';
import { type ByteRange, parseRange } from '../ranges.ts';
import type { Call } from './call.ts';
import { checksumHeaders, checksumOf } from './checksums.ts';
import { decode } from './signature.ts';
import { many, parseXml } from './xml.ts';

export const READ = { level: 'object', writes: false } as const;
export const WRITE = { level: 'object', writes: true } as const;
/** What a signed request may have the answer say (https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html). */
const OVERRIDES = [
  'content-type',
  'content-language',
  'expires',
  'cache-control',
  'content-disposition',
  'content-encoding',
];

export async function getObject(call: Call): Promise<void> {
  const { r2, slurp } = call.parts;
  const bucket = await call.bucket(READ);
  const key = call.target.key!;
  r2.usage.count(bucket, { classB: 1 });
  call.takesLong();
  const object = (await r2.objects.find(bucket, key)) ?? (await slurp.take(bucket, key));
  call.moves();
  if (!object) throw noSuchKey();
  const overrides: Record<string, string> = {};
  for (const name of OVERRIDES) {
    const value = call.query.get(`response-${name}`);
    if (value !== undefined && isFieldValue(value)) overrides[name] = Buffer.from(value).toString('latin1');
  }
  await answerWithObject(call.parts, bucket, object, {
    request: call.request,
    response: call.response,
    headers: { ...amzHeaders(object), ...overrides },
    ...(call.header('x-amz-checksum-mode') === 'ENABLED' && { checksums: checksumHeaders(object.s3) }),
  });
}

/** Answers GET and HEAD with an object, or the part of it that was asked for, under the request's conditions. */
export async function answerWithObject(
  { r2 }: Pick<Call['parts'], 'r2'>,
  bucket: Bucket,
  object: StoredObject,
  {
    request,
    response,
    headers,
    checksums,
  }: Pick<Call, 'request' | 'response'> & {
    headers: Record<string, string>;
    /** Of the whole object: left out of a part's answer. */
    checksums?: Record<string, string>;
  },
): Promise<void> {
  const fields = { ...headersOf(object.http), ...headers };
  const base = {
    etag: `"${object.etag}"`,
    'last-modified': new Date(object.uploaded).toUTCString(),
    'accept-ranges': 'bytes',
    ...fields,
  };
  const verdict = evaluate(conditionsOf(request.headers), object);
  if (verdict === 'failed') throw preconditionFailed();
  if (verdict === 'unchanged') return void response.writeHead(304, base).end();
  const range = rangeIn(request.headers, object);
  const length = range ? range.end - range.start + 1 : object.size;
  const head = {
    'content-type': 'application/octet-stream',
    ...base,
    'content-length': length,
    ...(!range && checksums),
    ...(range && { 'content-range': `bytes ${range.start}-${range.end}/${object.size}` }),
  };
  const status = range ? 206 : 200;
  if (request.method === 'HEAD') return void response.writeHead(status, head).end();
  const chunks = r2.objects.read(object, range ?? undefined);
  // A body that is damaged at its beginning can still be answered with an error.
  const first = await chunks.next();
  async function* all() {
    if (!first.done) yield first.value;
    yield* chunks;
  }
  try {
    response.writeHead(status, head);
    r2.usage.count(bucket, { egressBytes: length });
    await pipeline(Readable.from(all(), { objectMode: false, highWaterMark: 1 }), response);
  } finally {
    // Who went away before the answer began leaves them open.
    await chunks.return(undefined);
  }
}

/** If-Range: the range counts only for the object that the client knows (RFC 9110 section 13.1.5). */
function rangeIn(headers: Call['headers'], object: StoredObject): ByteRange | null {
  const known = headers['if-range'];
  if (typeof known === 'string') {
    const isSame = known.startsWith('"')
      ? known === `"${object.etag}"`
      : Math.floor(object.uploaded / 1000) * 1000 === Date.parse(known);
    if (!isSame) return null;
  }
  return parseRange(headers.range, object.size);
}

export async function putObject(call: Call): Promise<void> {
  const { objects, usage } = call.parts.r2;
  const bucket = await call.bucket(WRITE);
  const key = call.target.key!;
  checkObjectKey(key);
  const length = call.uploadLength();
  usage.count(bucket, { classA: 1, ingressBytes: length });
  const md5 = call.expectedMd5();
  const object = await objects.put(bucket, key, call.body(), {
    metadata: metadataOf(call, bucket),
    conditions: conditionsOf(call.headers),
    expected: md5 === undefined ? {} : ({ md5 } satisfies Checksums),
    checksum: checksumOf(call.headers, call.trailers),
  });
  if (!object) throw preconditionFailed();
  call.send(200, {
    etag: `"${object.etag}"`,
    ...checksumHeaders(object.s3),
    'content-length': 0,
  });
}

export async function deleteObject(call: Call): Promise<void> {
  const bucket = await call.bucket(WRITE);
  await call.parts.r2.objects.delete(bucket, [call.target.key!]);
  call.send(204);
}

const Deletion = z.object({
  Delete: z.object({ Object: many(z.object({ Key: z.string() })), Quiet: z.string().optional() }),
});

export async function deleteObjects(call: Call): Promise<void> {
  const bucket = await call.bucket(WRITE);
  const parsed = Deletion.safeParse(parseXml(await call.text()));
  const names = parsed.success ? parsed.data.Delete.Object.map(({ Key }) => Key) : [];
  if (names.length === 0 || names.length > R2.deleteKeys) {
    throw new R2Error('MalformedXML', `1 to ${R2.deleteKeys} objects must be named.`);
  }
  const deleted: string[] = [];
  const errors: Record<string, string>[] = [];
  const valid = names.filter((name) => {
    try {
      checkObjectKey(name);
      return true;
    } catch (error) {
      const { error: Code, message: Message } = error as R2Error;
      errors.push({ Key: name, Code, Message });
      return false;
    }
  });
  await call.parts.r2.objects.delete(bucket, [...new Set(valid)]);
  deleted.push(...valid);
  const isQuiet = parsed.success && parsed.data.Delete.Quiet === 'true';
  call.sendXml('DeleteResult', {
    ...(!isQuiet && { Deleted: deleted.map((Key) => ({ Key })) }),
    Error: errors,
  });
}

export async function copyObject(call: Call): Promise<void> {
  const { objects, usage } = call.parts.r2;
  const bucket = await call.bucket(WRITE);
  const key = call.target.key!;
  call.takesLong();
  const source = await copySource(call);
  const directive = (call.header('x-amz-metadata-directive') ?? 'COPY').toUpperCase();
  if (directive !== 'COPY' && directive !== 'REPLACE') {
    throw new R2Error('InvalidArgument', 'x-amz-metadata-directive is COPY or REPLACE.');
  }
  if (
    directive === 'COPY' &&
    source.bucket.id === bucket.id &&
    source.key === key &&
    !call.header('x-amz-storage-class')
  ) {
    throw new R2Error(
      'InvalidRequest',
      'This copy request is illegal because it is trying to copy an object to itself without changing its metadata.',
    );
  }
  checkCopySize(source.object.size);
  const { http, custom } = source.object;
  const kept = { http, custom, storageClass: storageClassOf(call.header('x-amz-storage-class'), bucket.storageClass) };
  usage.count(bucket, { classA: 1 });
  const object = await objects.put(bucket, key, objects.read(source.object), {
    metadata: directive === 'COPY' ? kept : metadataOf(call, bucket),
    conditions: conditionsOf(call.headers),
    maxBytes: R2.uploadBytes,
  });
  if (!object) throw preconditionFailed();
  call.sendXml('CopyObjectResult', { ETag: `"${object.etag}"`, LastModified: new Date(object.uploaded).toISOString() });
}

/** Throws R2Error InvalidRequest, before anything is copied. */
export function checkCopySize(size: number): void {
  if (size <= R2.uploadBytes) return;
  throw new R2Error(
    'InvalidRequest',
    `The specified copy source is larger than the maximum allowable size for a copy source: ${R2.uploadBytes}`,
  );
}

/** The object that a copy names, under its conditions. Throws R2Error NoSuchKey, NoSuchBucket, AccessDenied, PreconditionFailed. */
export async function copySource(call: Call): Promise<{ bucket: Bucket; key: string; object: StoredObject }> {
  const named = decode((call.header('x-amz-copy-source') ?? '').split('?')[0]!).replace(/^\//, '');
  const at = named.indexOf('/');
  if (at < 1) throw new R2Error('InvalidArgument', 'x-amz-copy-source must be <bucket>/<key>, encoded as a URL.');
  const [name, key] = [named.slice(0, at), named.slice(at + 1)];
  call.authorize(READ, name);
  const { r2, slurp } = call.parts;
  const bucket = await r2.buckets.get(call.token.accountId, name);
  r2.usage.count(bucket, { classB: 1 });
  const object = (await r2.objects.find(bucket, key)) ?? (await slurp.take(bucket, key));
  if (!object) throw noSuchKey();
  const conditions = conditionsOf(call.headers, 'x-amz-copy-source-');
  if (evaluate(conditions, object) !== 'ok') throw preconditionFailed();
  return { bucket, key, object };
}

/** Metadata in the fields of a request. */
export function metadataOf(call: Call, bucket: Bucket): ObjectMetadata {
  if (call.header('x-amz-server-side-encryption-customer-key') !== undefined) {
    throw new R2Error('NotImplemented', 'Encryption with keys of the client (SSE-C) is not here.');
  }
  const custom = Object.keys(call.headers)
    .filter((name) => name.startsWith('x-amz-meta-'))
    .map((name): [string, string] => [name.slice('x-amz-meta-'.length), call.header(name) ?? '']);
  const http = httpFieldsOf(call.headers);
  for (const [field, value] of Object.entries(http)) {
    if (typeof value === 'string') Object.assign(http, { [field]: Buffer.from(value, 'latin1').toString() });
  }
  // How the body came is nothing of the object's.
  const encoding = http.contentEncoding
    ?.split(',')
    .map((each) => each.trim())
    .filter((each) => each !== 'aws-chunked');
  if (encoding?.length) http.contentEncoding = encoding.join(', ');
  else delete http.contentEncoding;
  return checkMetadata({
    http,
    custom,
    storageClass: storageClassOf(call.header('x-amz-storage-class'), bucket.storageClass),
  });
}

function amzHeaders(object: StoredObject): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of object.custom) {
    // What bindings put there may be no name of a field.
    if (/^[\w!#$%&'*+.^`|~-]+$/.test(name) && isFieldValue(value)) {
      headers[`x-amz-meta-${name}`] = Buffer.from(value).toString('latin1');
    }
  }
  if (object.storageClass === 'InfrequentAccess') headers['x-amz-storage-class'] = 'STANDARD_IA';
  return headers;
}
