/** Taking in objects from elsewhere: on demand (an object that is missing here is fetched, stored, and answered), and by jobs. */
import { once } from 'node:events';
import { log, reason } from '../../model/log.ts';
import type { Bucket, Source, StoredObject } from './documents.ts';
import { R2, R2Error } from './limits.ts';
import { checkMetadata, httpFieldsOf } from './metadata.ts';
import type { Objects } from './objects.ts';
import { getObject, SourceError, type SourceOptions } from './source.ts';

/** Fetched at once for readers. */
const MAX_FETCHING = 64;

export class Slurp {
  readonly #objects: Objects;
  readonly #options: SourceOptions;
  readonly #fetching = new Map<string, Promise<StoredObject | null>>();

  constructor(objects: Objects, options: SourceOptions) {
    this.#objects = objects;
    this.#options = options;
  }

  /**
   * The object from the bucket's source, stored here by then; null if the bucket has no source, or that has no such object. Who asks for the
   * same object meanwhile waits for the same fetch. Throws R2Error ServiceUnavailable if the source does not answer as it should.
   */
  async take(bucket: Bucket, key: string): Promise<StoredObject | null> {
    const { source } = bucket;
    if (!source) return null;
    const id = `${bucket.id}/${key}`;
    let fetching = this.#fetching.get(id);
    if (!fetching) {
      if (this.#fetching.size >= MAX_FETCHING) {
        throw new R2Error('ServiceUnavailable', 'Too many objects are being fetched from their sources.');
      }
      fetching = this.copy(bucket, source, key, { overwrite: false }).finally(() => this.#fetching.delete(id));
      this.#fetching.set(id, fetching);
    }
    try {
      return await fetching;
    } catch (error) {
      if (!(error instanceof SourceError)) throw error;
      log('warn', 'an object could not be taken from its source', { bucket: bucket.name, reason: reason(error) });
      throw new R2Error('ServiceUnavailable', `The object is not here, and ${error.message}.`);
    }
  }

  /**
   * Copies one object; null if the source does not have it. Without `overwrite` an object that somebody stores here meanwhile stays, and is
   * what is given. Throws SourceError.
   */
  async copy(
    bucket: Bucket,
    source: Source,
    key: string,
    { overwrite }: { overwrite: boolean },
  ): Promise<StoredObject | null> {
    const answer = await getObject(bucket.accountId, source, key, this.#options);
    if (!answer) return null;
    const { headers } = answer;
    const length = Number(headers['content-length'] ?? Number.NaN);
    const custom = Object.entries(headers).flatMap(([name, value]): [string, string][] =>
      name.startsWith('x-amz-meta-') && typeof value === 'string' ? [[name.slice(11), decodeText(value)]] : [],
    );
    try {
      const stored = await this.#objects.put(bucket, key, answer as AsyncIterable<Buffer>, {
        metadata: checkMetadata({ http: httpFieldsOf(headers), custom, storageClass: bucket.storageClass }),
        conditions: overwrite ? undefined : { etagDoesNotMatch: [{ value: '', type: 'wildcard' }] },
        maxBytes: R2.objectBytes,
      });
      if (stored && !Number.isNaN(length) && stored.size !== length) {
        await this.#objects.removeVersion(bucket, key, stored);
        throw new SourceError('the source broke off in the middle of an object');
      }
      return stored ?? (await this.#objects.find(bucket, key));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ECONNRESET') {
        throw new SourceError('the source broke off in the middle of an object');
      }
      throw error;
    } finally {
      if (!answer.destroyed) {
        answer.destroy();
        await once(answer, 'close');
      }
    }
  }
}

/** Node reads bytes as latin1. */
function decodeText(value: string): string {
  return Buffer.from(value, 'latin1').toString();
}
