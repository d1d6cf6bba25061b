/** Taking in objects from elsewhere: on demand (an object that is missing here is fetched, stored, and answered), and by jobs (`jobs.ts`). */
import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { log, reason } from '../../model/log.ts';
import { Arriving } from './arriving.ts';
import type { Conditions } from './conditions.ts';
import type { Bucket, ObjectMetadata, Source, StoredObject } from './documents.ts';
import { R2, R2Error } from './limits.ts';
import { checkMetadata, httpFieldsOf } from './metadata.ts';
import type { R2 as R2State } from './open.ts';
import { SourceError, type SourceOptions, SourceReader, withoutQuotes } from './source.ts';
import { GARBAGE_MS } from './sweep.ts';

/** Fetched at once for readers of one account. */
const MAX_FETCHING = 64;
const MiB = 1024 * 1024;
/** A larger object is answered while it comes; a smaller one when it is stored, so that its failure can still be said. */
const ARRIVING_BYTES = 8 * MiB;
const NOTHING_THERE: Conditions = { etagDoesNotMatch: [{ value: '', type: 'wildcard' }] };

type Parts = Pick<R2State, 'objects' | 'uploads' | 'usage'>;

/** What the head of an answer says of its object. */
interface Incoming {
  metadata: ObjectMetadata;
  /** Null if the source does not say it. */
  size: number | null;
  /** Without quotes; null if it is none of the forms that S3's have. */
  etag: string | null;
  content: AsyncIterable<Buffer>;
}

export interface CopyOptions {
  overwrite: boolean;
  /** Is told of a large object as soon as it begins to come: its body can be read as that of any other (`Objects.read`). */
  onArriving?: (object: StoredObject) => void;
}

export class Slurp {
  readonly source: SourceReader;
  readonly #r2: Parts;
  readonly #fetching = new Map<string, Map<string, Promise<StoredObject | null>>>();
  readonly #copies = new Set<Promise<unknown>>();

  constructor(r2: Parts, options: SourceOptions) {
    this.#r2 = r2;
    this.source = new SourceReader(options);
  }

  /**
   * The object from the bucket's source, stored here by then, or (a large one) while it is being stored; null if the bucket has no source, or
   * that has no such object. Who asks for the same object meanwhile gets that of the same fetch. Throws R2Error ServiceUnavailable if the
   * source does not answer as it should.
   */
  async take(bucket: Bucket, key: string): Promise<StoredObject | null> {
    const { source } = bucket;
    if (!source) return null;
    const fetching = this.#fetching.get(bucket.accountId) ?? new Map<string, Promise<StoredObject | null>>();
    const id = `${bucket.id}/${key}`;
    let taken = fetching.get(id);
    if (!taken) {
      if (fetching.size >= MAX_FETCHING) {
        throw new R2Error('ServiceUnavailable', 'Too many objects are being fetched from their sources.');
      }
      this.#fetching.set(bucket.accountId, fetching);
      taken = this.#begin(bucket, source, key, () => {
        fetching.delete(id);
        if (fetching.size === 0) this.#fetching.delete(bucket.accountId);
      });
      fetching.set(id, taken);
    }
    try {
      return await taken;
    } catch (error) {
      if (!(error instanceof SourceError)) throw error;
      throw new R2Error('ServiceUnavailable', `The object is not here, and ${error.message}.`);
    }
  }

  #begin(bucket: Bucket, source: Source, key: string, done: () => void): Promise<StoredObject | null> {
    const taken = Promise.withResolvers<StoredObject | null>();
    const fetch = async () => {
      // The fetch before this one may have ended since the asker looked.
      const there = await this.#r2.objects.find(bucket, key);
      return there ?? this.copy(bucket, source, key, { overwrite: false, onArriving: taken.resolve });
    };
    fetch()
      .then(taken.resolve, (error: unknown) => {
        log('warn', 'an object could not be taken from its source', { bucket: bucket.name, reason: reason(error) });
        taken.reject(error);
      })
      .finally(done);
    return taken.promise;
  }

  /**
   * Copies one object; null if the source does not have it. Without `overwrite` an object that somebody stores here meanwhile stays, and is
   * what is given. Throws SourceError, and what storing throws; nothing is stored then.
   */
  copy(bucket: Bucket, source: Source, key: string, options: CopyOptions): Promise<StoredObject | null> {
    return this.#tracked(this.#copy(bucket, source, key, options));
  }

  /** `close` waits for it. */
  #tracked<T>(work: Promise<T>): Promise<T> {
    const ended = work.catch(() => undefined).finally(() => this.#copies.delete(ended));
    this.#copies.add(ended);
    return work;
  }

  async #copy(
    bucket: Bucket,
    source: Source,
    key: string,
    { overwrite, onArriving }: CopyOptions,
  ): Promise<StoredObject | null> {
    const answer = await this.source.get(bucket.accountId, source, key);
    if (!answer) return null;
    try {
      const incoming = this.#incoming(bucket, answer);
      const conditions = overwrite ? undefined : NOTHING_THERE;
      const { metadata, content, size, etag } = incoming;
      let stored: StoredObject | null;
      if (onArriving && etag !== null && size !== null && size > ARRIVING_BYTES) {
        stored = await this.#arrive(bucket, key, { metadata, content, size, etag }, { conditions, onArriving });
      } else {
        stored = await this.#r2.objects.put(bucket, key, content, {
          metadata,
          conditions,
          maxBytes: R2.objectBytes,
          // One of an upload in parts says how many they were: nobody can make it anew.
          ...(etag?.includes('-') && { etag }),
        });
      }
      if (stored) this.#r2.usage.count(bucket, { classA: 1, ingressBytes: stored.size });
      return stored ?? (await this.#r2.objects.find(bucket, key));
    } finally {
      if (!answer.complete) answer.destroy();
    }
  }

  /**
   * Stores a large object in parts, each of which can be read as soon as it is stored. It is an upload as any other: what a killed process
   * leaves of it goes with those that nobody completes.
   */
  async #arrive(
    bucket: Bucket,
    key: string,
    { metadata, content, size, etag }: Incoming & { size: number; etag: string },
    { conditions, onArriving }: { conditions: Conditions | undefined; onArriving: (object: StoredObject) => void },
  ): Promise<StoredObject | null> {
    const { objects, uploads } = this.#r2;
    const identity = { version: randomBytes(16).toString('hex'), etag, uploaded: Date.now() };
    const object: StoredObject = { ...metadata, ...identity, size, checksums: {}, body: null };
    const arriving = new Arriving();
    objects.arriving.set(object, arriving);
    const { id } = await uploads.create(bucket, key, metadata);
    const abort = () => uploads.abort(bucket, key, id).catch(() => undefined);
    try {
      onArriving(object);
      const partBytes = Math.max(R2.minPartBytes, Math.ceil(size / R2.parts / MiB) * MiB);
      const named: { number: number; etag: string }[] = [];
      const chunks = content[Symbol.asyncIterator]();
      for (const part of partsOf(chunks, Math.ceil(size / partBytes), partBytes)) {
        const number = named.length + 1;
        const stored = await uploads.uploadPart(bucket, key, id, number, part);
        const one = { ...object, size: stored.size, body: stored.piece };
        arriving.add({ size: stored.size, read: (start, end) => objects.read(one, { start, end }) });
        named.push({ number, etag: stored.etag });
      }
      const completed = await uploads.complete(bucket, key, id, named, { conditions, identity });
      // Somebody stored another object here meanwhile. Who reads this one may do so for a while.
      if (!completed) setTimeout(abort, GARBAGE_MS).unref();
      return completed;
    } catch (error) {
      arriving.fail();
      // Who asks now begins anew at once.
      void this.#tracked(abort());
      throw error;
    }
  }

  /** Throws SourceError. */
  #incoming(bucket: Bucket, answer: IncomingMessage): Incoming {
    const headers = Object.fromEntries(
      Object.entries(answer.headers).map(([name, value]) => [
        name,
        typeof value === 'string' ? decodeText(value) : value,
      ]),
    );
    const length = headers['content-length'] as string | undefined;
    // Else an end of the connection would look like the end of the object.
    if (length === undefined && headers['transfer-encoding'] === undefined) {
      throw new SourceError('the source does not say how long the object is');
    }
    const size = length === undefined ? null : Number(length);
    const etag = withoutQuotes(String(headers.etag ?? ''));
    const custom = Object.entries(headers).flatMap(([name, value]): [string, string][] =>
      name.startsWith('x-amz-meta-') ? [[name.slice('x-amz-meta-'.length), String(value)]] : [],
    );
    return {
      metadata: checkMetadata({ http: httpFieldsOf(headers), custom, storageClass: bucket.storageClass }),
      size,
      etag: /^[0-9a-f]{32}(-\d{1,5})?$/.test(etag) ? etag : null,
      content: whole(answer, size),
    };
  }

  /** Breaks off what is being copied, and waits until it is put away. */
  async close(): Promise<void> {
    this.source.close();
    while (this.#copies.size > 0) await Promise.all(this.#copies);
  }
}

/** The body of an answer. Throws SourceError if it breaks off. */
async function* whole(answer: IncomingMessage, size: number | null): AsyncGenerator<Buffer> {
  let bytes = 0;
  try {
    // What has been read is not destroyed: its connection is used again.
    for await (const chunk of answer.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      yield chunk;
    }
  } catch {
    throw brokenOff();
  }
  if (!answer.complete || (size !== null && bytes !== size)) throw brokenOff();
}

const brokenOff = () => new SourceError('the source broke off in the middle of an object', { transient: true });

/** Cuts a stream: each of the iterables must be read to its end before the next one. */
function* partsOf(chunks: AsyncIterator<Buffer>, count: number, bytes: number): Generator<AsyncIterable<Buffer>> {
  let rest: Buffer | null = null;
  async function* part(isLast: boolean): AsyncGenerator<Buffer> {
    for (let left = bytes; left > 0 || isLast; ) {
      let chunk: Buffer;
      if (rest) {
        chunk = rest;
        rest = null;
      } else {
        const next = await chunks.next();
        if (next.done) return;
        chunk = next.value;
      }
      if (chunk.length > left && !isLast) rest = chunk.subarray(left);
      const taken = rest ? chunk.subarray(0, left) : chunk;
      left -= taken.length;
      yield taken;
    }
  }
  for (let number = 1; number <= count; number++) yield part(number === count);
}

/** Node reads bytes as latin1. */
function decodeText(value: string): string {
  return Buffer.from(value, 'latin1').toString();
}
