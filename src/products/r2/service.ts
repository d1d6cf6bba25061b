/**
 * What R2 bindings of one isolate process talk to: the runtime's own protocol over HTTP (r2-api.capnp as JSON) on a socket of the process. The
 * bucket stands in a header that the process's configuration sets; which ones it may name was said when it was attached.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { log, reason } from '../../model/log.ts';
import { Overloaded } from '../../state/threaded-ledger.ts';
import { drained, drainedBy } from '../drained.ts';
import { BUCKET_HEADER } from './binding.ts';
import { type Conditions, evaluate } from './conditions.ts';
import type { Bucket, Checksums, HttpFields, ObjectMetadata, StoredObject } from './documents.ts';
import { maxKeys, noSuchKey, preconditionFailed, R2Error } from './limits.ts';
import { decodeCursor, encodeCursor, listObjects, type Position } from './listing.ts';
import { checkMetadata, storageClassOf } from './metadata.ts';
import type { R2 } from './open.ts';
import { type Asked, type ByteRange, parseRange, rangeOf } from './ranges.ts';
import type { Slurp } from './slurp.ts';

/** Bytes of JSON before a body: metadata, or a list of parts. */
const MAX_REQUEST_BYTES = 2 * 1024 * 1024;
/** The runtime takes no list above 1 MiB. */
const MAX_LIST_BYTES = 512 * 1024;
/** Of a body that was refused: what is longer loses its connection. */
const MAX_DRAINED_BYTES = 256 * 1024 * 1024;
const MAX_HEADER_BYTES = 64 * 1024;

export interface R2ServiceOptions {
  r2: Pick<R2, 'ledger' | 'buckets' | 'objects' | 'uploads' | 'usage'>;
  slurp: Slurp;
  accountId: string;
  /** Names of the buckets that the process may name. */
  allowed: string[];
  /** Counts an operation; false above what requests may make. */
  take(): boolean | Promise<boolean>;
}

/** A request as the runtime writes it: 64-bit numbers are strings. */
interface BindingRequest {
  method: string;
  object?: string;
  objects?: string[];
  range?: { offset?: string; length?: string; suffix?: string };
  rangeHeader?: string;
  onlyIf?: Omit<Conditions, 'uploadedBefore' | 'uploadedAfter'> & { uploadedBefore?: string; uploadedAfter?: string };
  customFields?: { k: string; v: string }[];
  httpFields?: Omit<HttpFields, 'cacheExpiry'> & { cacheExpiry?: string };
  md5?: string;
  sha1?: string;
  sha256?: string;
  sha384?: string;
  sha512?: string;
  storageClass?: string;
  ssec?: unknown;
  limit?: number;
  prefix?: string;
  cursor?: string;
  delimiter?: string;
  startAfter?: string;
  include?: number[];
  uploadId?: string;
  partNumber?: number;
  parts?: { etag: string; part: number }[];
}

/** The server of `r2.sock` of one isolate process; the caller lets it listen. */
export function createR2Service(options: R2ServiceOptions): Server {
  const allowed = new Set(options.allowed);
  // The runtime decides how long connections are kept: closing idle ones would race with its next request.
  const limits = { keepAliveTimeout: 0, requestTimeout: 0, maxHeaderSize: MAX_HEADER_BYTES };
  return createServer(limits, (request, response) => {
    answer(options, allowed, request, response).catch(async (error: unknown) => {
      if (!response.headersSent) await drained(request, MAX_DRAINED_BYTES);
      fail(response, error);
    });
  });
}

async function answer(
  options: R2ServiceOptions,
  allowed: Set<string>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const name = String(request.headers[BUCKET_HEADER]);
  if (!allowed.has(name)) throw new R2Error('NoSuchBucket', 'This Worker does not bind the bucket.');
  if (!(await options.take()))
    throw new R2Error('TooManyRequests', 'Too many API requests by single worker invocation.');
  const bucket = await options.r2.buckets.get(options.accountId, name);
  if (request.method === 'GET') {
    const text = Buffer.from(String(request.headers['cf-r2-request']), 'latin1').toString();
    return read(options, bucket, parse(text), response);
  }
  const size = Number(request.headers['cf-r2-metadata-size']);
  if (!(size > 0 && size <= MAX_REQUEST_BYTES)) throw new R2Error('InvalidArgument', 'The request is too long.');
  const body = request[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  try {
    const { head, rest } = await takeHead(body, size);
    send(response, 200, await write(options, bucket, parse(head.toString()), rest));
  } catch (error) {
    // A client that went away has nothing left.
    await drainedBy(body, request, MAX_DRAINED_BYTES).catch(() => undefined);
    throw error;
  }
}

async function read(
  { r2, slurp }: R2ServiceOptions,
  bucket: Bucket,
  asked: BindingRequest,
  response: ServerResponse,
): Promise<void> {
  refuseEncryption(asked);
  if (asked.method === 'list') {
    r2.usage.count(bucket, { classA: 1 });
    return sendFrame(response, 200, await list(r2, bucket, asked));
  }
  if (asked.method !== 'head' && asked.method !== 'get') {
    throw new R2Error('NotImplemented', `R2 has no method ${asked.method}.`);
  }
  r2.usage.count(bucket, { classB: 1 });
  const key = asked.object ?? '';
  const object = (await r2.objects.find(bucket, key)) ?? (await slurp.take(bucket, key));
  if (!object) throw noSuchKey();
  const metadata = headShape(key, object);
  if (asked.method === 'head') return sendFrame(response, 200, metadata);
  if (evaluate(conditionsIn(asked), object) !== 'ok') {
    const { code, message } = preconditionFailed();
    response.setHeader('cf-r2-error', JSON.stringify({ version: 0, v4code: code, message }));
    return sendFrame(response, 412, metadata);
  }
  const range =
    asked.rangeHeader === undefined
      ? rangeOf(askedRange(asked), object.size)
      : parseRange(asked.rangeHeader, object.size);
  await sendBody(r2, bucket, object, range, range ? { ...metadata, range: rangeShape(range) } : metadata, response);
}

/** The metadata, and the body behind it. */
async function sendBody(
  { objects, usage }: R2ServiceOptions['r2'],
  bucket: Bucket,
  object: StoredObject,
  range: ByteRange | null,
  metadata: object,
  response: ServerResponse,
): Promise<void> {
  const frame = Buffer.from(JSON.stringify(metadata));
  const size = range ? range.end - range.start + 1 : object.size;
  const chunks = objects.read(object, range ?? undefined);
  // A body that is damaged at its beginning can still be answered with an error.
  const first = await chunks.next();
  async function* all() {
    yield frame;
    if (!first.done) yield first.value;
    yield* chunks;
  }
  try {
    response.writeHead(200, { 'cf-r2-metadata-size': frame.length, 'content-length': frame.length + size });
    usage.count(bucket, { egressBytes: size });
    await pipeline(Readable.from(all(), { objectMode: false }), response);
  } finally {
    // Who went away before the answer began leaves them open.
    await chunks.return(undefined);
  }
}

async function write(
  { r2 }: R2ServiceOptions,
  bucket: Bucket,
  asked: BindingRequest,
  body: AsyncIterable<Buffer>,
): Promise<unknown> {
  refuseEncryption(asked);
  const { objects, uploads, usage } = r2;
  const key = asked.object ?? '';
  const counted = counting(body, (ingressBytes) => usage.count(bucket, { ingressBytes }));
  if (asked.method !== 'delete' && asked.method !== 'abortMultipartUpload') usage.count(bucket, { classA: 1 });
  switch (asked.method) {
    case 'put': {
      const object = await objects.put(bucket, key, counted, {
        metadata: metadataIn(asked, bucket),
        conditions: conditionsIn(asked),
        expected: expectedIn(asked),
      });
      if (!object) throw preconditionFailed();
      return headShape(key, object);
    }
    case 'delete':
      await objects.delete(bucket, asked.objects ?? [key]);
      return {};
    case 'createMultipartUpload':
      return { uploadId: (await uploads.create(bucket, key, metadataIn(asked, bucket))).id };
    case 'uploadPart': {
      const { uploadId = '', partNumber = 0 } = asked;
      return { etag: (await uploads.uploadPart(bucket, key, uploadId, partNumber, counted)).etag };
    }
    case 'completeMultipartUpload': {
      const parts = (asked.parts ?? []).map(({ etag, part }) => ({ etag, number: part }));
      const object = await uploads.complete(bucket, key, asked.uploadId ?? '', parts);
      return headShape(key, object!);
    }
    case 'abortMultipartUpload':
      await uploads.abort(bucket, key, asked.uploadId ?? '');
      return {};
    default:
      throw new R2Error('NotImplemented', `R2 has no method ${asked.method}.`);
  }
}

async function list({ ledger }: Pick<R2, 'ledger'>, bucket: Bucket, asked: BindingRequest): Promise<unknown> {
  const after: Position | undefined =
    asked.cursor !== undefined
      ? decodeCursor(asked.cursor)
      : asked.startAfter !== undefined
        ? { key: asked.startAfter }
        : undefined;
  const [http, custom] = [asked.include?.includes(0), asked.include?.includes(1)];
  const shapeOf = (key: string, object: StoredObject) => {
    const { httpFields, customFields, ...shape } = headShape(key, object);
    return { ...shape, httpFields: http ? httpFields : {}, customFields: custom ? customFields : [] };
  };
  let bytes = 0;
  const { objects, prefixes, next } = await listObjects(ledger, bucket, {
    prefix: asked.prefix,
    delimiter: asked.delimiter,
    limit: maxKeys(asked.limit),
    ...(after && { after }),
    fits(name, object) {
      bytes += Buffer.byteLength(JSON.stringify(object ? shapeOf(name, object) : name));
      return bytes <= MAX_LIST_BYTES;
    },
  });
  return {
    objects: objects.map(({ key, object }) => shapeOf(key, object)),
    truncated: next !== null,
    ...(next && { cursor: encodeCursor(next) }),
    delimitedPrefixes: prefixes,
  };
}

/** R2HeadResponse of r2-api.capnp. */
function headShape(key: string, object: StoredObject) {
  const { version, size, etag, uploaded, http, custom, checksums, storageClass } = object;
  const { cacheExpiry, ...texts } = http;
  const { md5, sha1, sha256, sha384, sha512 } = checksums;
  return {
    name: key,
    version,
    size: String(size),
    etag,
    uploaded: String(uploaded),
    httpFields: { ...texts, ...(cacheExpiry !== undefined && { cacheExpiry: String(cacheExpiry) }) },
    customFields: custom.map(([k, v]) => ({ k, v })),
    checksums: Object.fromEntries(
      [md5, sha1, sha256, sha384, sha512].flatMap((value, index) => (value ? [[String(index), value]] : [])),
    ),
    storageClass,
  };
}

function rangeShape({ start, end }: ByteRange) {
  return { offset: String(start), length: String(end - start + 1) };
}

function askedRange({ range }: BindingRequest): Asked | undefined {
  if (!range) return undefined;
  const { offset, length, suffix } = range;
  return {
    ...(offset !== undefined && { offset: Number(offset) }),
    ...(length !== undefined && { length: Number(length) }),
    ...(suffix !== undefined && { suffix: Number(suffix) }),
  };
}

function conditionsIn({ onlyIf }: BindingRequest): Conditions | undefined {
  if (!onlyIf) return undefined;
  const { uploadedBefore, uploadedAfter, ...rest } = onlyIf;
  return {
    ...rest,
    ...(uploadedBefore !== undefined && { uploadedBefore: Number(uploadedBefore) }),
    ...(uploadedAfter !== undefined && { uploadedAfter: Number(uploadedAfter) }),
  };
}

function metadataIn(
  { httpFields = {}, customFields = [], storageClass }: BindingRequest,
  bucket: Bucket,
): ObjectMetadata {
  const { cacheExpiry, ...texts } = httpFields;
  return checkMetadata({
    http: { ...texts, ...(cacheExpiry !== undefined && { cacheExpiry: Number(cacheExpiry) }) },
    custom: customFields.map(({ k, v }) => [k, v]),
    storageClass: storageClassOf(storageClass, bucket.storageClass),
  });
}

/** Hashes in hex; MD5 comes as base64. */
function expectedIn({ md5, sha1, sha256, sha384, sha512 }: BindingRequest): Checksums {
  return {
    ...(md5 !== undefined && { md5: Buffer.from(md5, 'base64').toString('hex') }),
    ...(sha1 !== undefined && { sha1: sha1.toLowerCase() }),
    ...(sha256 !== undefined && { sha256: sha256.toLowerCase() }),
    ...(sha384 !== undefined && { sha384: sha384.toLowerCase() }),
    ...(sha512 !== undefined && { sha512: sha512.toLowerCase() }),
  };
}

function refuseEncryption({ ssec }: BindingRequest): void {
  if (ssec !== undefined)
    throw new R2Error('NotImplemented', 'Encryption with keys of the client (SSE-C) is not here.');
}

function parse(text: string): BindingRequest {
  try {
    return JSON.parse(text) as BindingRequest;
  } catch {
    throw new R2Error('InvalidArgument', 'The request is no JSON.');
  }
}

/** The first `size` bytes of a body, and the rest as a stream. */
async function takeHead(body: AsyncIterator<Buffer>, size: number) {
  const chunks: Buffer[] = [];
  let length = 0;
  while (length < size) {
    const { done, value } = await body.next();
    if (done) throw new R2Error('IncompleteBody', 'The request body terminated unexpectedly.');
    chunks.push(value);
    length += value.length;
  }
  const all = Buffer.concat(chunks);
  async function* rest() {
    if (all.length > size) yield all.subarray(size);
    for (let next = await body.next(); !next.done; next = await body.next()) yield next.value;
  }
  return { head: all.subarray(0, size), rest: rest() };
}

async function* counting(body: AsyncIterable<Buffer>, count: (bytes: number) => void): AsyncGenerator<Buffer> {
  let bytes = 0;
  try {
    for await (const chunk of body) {
      bytes += chunk.length;
      yield chunk;
    }
  } finally {
    count(bytes);
  }
}

/** JSON whose length the reader of a read's answer is told. */
function sendFrame(response: ServerResponse, status: number, value: unknown): void {
  const frame = Buffer.from(JSON.stringify(value));
  response.writeHead(status, { 'cf-r2-metadata-size': frame.length, 'content-length': frame.length }).end(frame);
}

function send(response: ServerResponse, status: number, value: unknown): void {
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': body.length }).end(body);
}

function fail(response: ServerResponse, error: unknown): void {
  if (response.headersSent || response.destroyed) {
    // Who goes away while a body comes is no failure of ours.
    if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') {
      log('error', 'an object of R2 broke off', { error: reason(error) });
    }
    return void response.destroy();
  }
  const known = r2ErrorOf(error);
  const shape = { version: 0, v4code: known.code, message: known.message.replace(/[^ -~]/g, ' ').slice(0, 1000) };
  response.writeHead(known.status, { 'cf-r2-error': JSON.stringify(shape), 'content-length': 0 }).end();
}

/** What is no R2Error is logged, and its sender is told that something broke. */
export function r2ErrorOf(error: unknown): R2Error {
  if (error instanceof R2Error) return error;
  if (error instanceof Overloaded) return new R2Error('ServiceUnavailable', 'Too many writes wait for the disk.');
  log('error', 'R2 failed', { error: reason(error) });
  if (/ENOSPC|disk (?:is )?full/i.test(reason(error))) {
    return new R2Error('ServiceUnavailable', 'The disk of this machine is full.');
  }
  return new R2Error('InternalError', 'We encountered an internal error. Please try again.');
}
