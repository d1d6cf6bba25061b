/** Uploads in parts: each part is durable when it is acknowledged; the object is there when the upload is completed, all at once. */
import { createHash, randomBytes } from 'node:crypto';
import { type Ledger, RevisionConflict, type Write } from '../../state/ledger.ts';
import type { Bodies } from './bodies.ts';
import type { Conditions } from './conditions.ts';
import {
  type Bucket,
  keys,
  type ObjectMetadata,
  type Piece,
  type S3Checksum,
  type StoredObject,
  type Upload,
  type UploadedPart,
} from './documents.ts';
import { checkObjectKey, R2, R2Error } from './limits.ts';
import { compareKeys } from './listing.ts';
import { type ChecksumCheck, garbage, type Objects } from './objects.ts';

/** Documents removed with one write. */
const PAGE = 1000;
/** A completion that is overtaken by its own parts this often is given up. */
const MAX_TRIES = 100;

export interface NamedPart {
  number: number;
  /** Without quotes. */
  etag: string;
}

/** Makes the checksum of an object from those of its parts; undefined if there is none. Throws R2Error BadDigest. */
export type Composite = (parts: UploadedPart[], upload: Upload) => Promise<S3Checksum | undefined>;

export class Uploads {
  readonly #ledger: Ledger;
  readonly #bodies: Bodies;
  readonly #objects: Objects;

  constructor(ledger: Ledger, bodies: Bodies, objects: Objects) {
    this.#ledger = ledger;
    this.#bodies = bodies;
    this.#objects = objects;
  }

  async create(bucket: Bucket, key: string, metadata: ObjectMetadata, s3?: Upload['s3']): Promise<Upload> {
    checkObjectKey(key);
    const id = randomBytes(32).toString('base64url');
    const upload: Upload = { id, key, initiated: Date.now(), ...metadata, ...(s3 && { s3 }) };
    await this.#ledger.put(keys.upload(bucket.id, id), upload, 0);
    return upload;
  }

  /** Throws R2Error NoSuchUpload. */
  async get(bucket: Bucket, key: string, id: string): Promise<Upload> {
    const entry = await this.#find(bucket, key, id);
    return entry.value;
  }

  /** Stores a part; one of the same number goes. Throws as `Objects.put` does. */
  async uploadPart(
    bucket: Bucket,
    key: string,
    id: string,
    number: number,
    content: AsyncIterable<Uint8Array>,
    { expectedMd5, checksum }: { expectedMd5?: string; checksum?: ChecksumCheck } = {},
  ): Promise<UploadedPart> {
    await this.#find(bucket, key, id);
    if (!Number.isInteger(number) || number < 1 || number > R2.parts) {
      throw new R2Error('InvalidArgument', `Part number must be an integer between 1 and ${R2.parts}, inclusive.`);
    }
    const written = await this.#bodies.write(content, {
      maxBytes: R2.uploadBytes,
      digests: checksum ? [checksum.digest] : [],
    });
    let part: UploadedPart;
    let replaced: Piece | null;
    try {
      const { md5 } = written.checksums;
      if (expectedMd5 !== undefined && expectedMd5 !== md5) {
        throw new R2Error('BadDigest', 'The MD5 checksum you specified did not match what we received.');
      }
      const s3 = await checksum?.finish();
      part = {
        number,
        size: written.size,
        etag: md5,
        uploaded: Date.now(),
        piece: written.piece,
        ...(s3 && { s3 }),
      };
      replaced = await this.#writePart(bucket, key, id, part);
    } catch (error) {
      const named = async () => (await this.#ledger.get<UploadedPart>(keys.part(id, number)))?.value.piece;
      await this.#bodies.discard(written.piece, named);
      throw error;
    }
    await this.#bodies.delete(replaced);
    return part;
  }

  /** Gives the bytes of the part that it replaced. Throws R2Error NoSuchUpload. */
  async #writePart(bucket: Bucket, key: string, id: string, part: UploadedPart): Promise<Piece | null> {
    const document = keys.part(id, part.number);
    for (;;) {
      // It may have been completed or aborted while the body came, or is it just now: then nothing is written.
      const upload = await this.#find(bucket, key, id);
      const before = await this.#ledger.get<UploadedPart>(document);
      try {
        await this.#ledger.write([
          { key: document, value: part, expected: before?.revision ?? 0 },
          { key: upload.key, expected: upload.revision },
        ]);
        return before?.value.piece ?? null;
      } catch (error) {
        if (!(error instanceof RevisionConflict)) throw error;
      }
    }
  }

  /** By number. `after`: the number behind which to go on. */
  async parts(id: string, after = 0, limit?: number): Promise<UploadedPart[]> {
    const options = { ...(after > 0 && { after: keys.part(id, after) }), ...(limit !== undefined && { limit }) };
    return (await this.#ledger.list<UploadedPart>(keys.parts(id), options)).map(({ value }) => value);
  }

  /** Uploads that are under way, by key and time. */
  async list(bucket: Bucket): Promise<Upload[]> {
    const uploads = (await this.#ledger.list<Upload>(keys.uploads(bucket.id))).map(({ value }) => value);
    return uploads.sort((a, b) => compareKeys(a.key, b.key) || a.initiated - b.initiated);
  }

  /**
   * Makes the object of the named parts, whose numbers must rise. `identity`: what readers were told of it already. Null if the conditions do not hold. Throws R2Error: NoSuchUpload,
   * InvalidPart, InvalidPartOrder, EntityTooSmall, UnequalParts, EntityTooLarge.
   */
  async complete(
    bucket: Bucket,
    key: string,
    id: string,
    named: NamedPart[],
    {
      conditions,
      composite,
      identity,
    }: {
      conditions?: Conditions | undefined;
      composite?: Composite;
      identity?: Pick<StoredObject, 'version' | 'etag' | 'uploaded'>;
    } = {},
  ): Promise<StoredObject | null> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const upload = await this.#find(bucket, key, id);
      const entries = await this.#ledger.list<UploadedPart>(keys.parts(id));
      const parts = chosen(
        entries.map(({ value }) => value),
        named,
      );
      const object = { ...(await assembled(parts, upload.value, composite)), ...identity };
      const unused = entries.filter(({ value }) => !parts.includes(value) && value.piece);
      const also: Write[] = [
        { key: upload.key, value: null, expected: upload.revision },
        // Bytes of a part that was replaced meanwhile are gone.
        ...entries.map(({ key, revision }) => ({ key, value: null, expected: revision })),
        ...unused.map(({ value: { number, piece } }) => garbage({ version: `${id}.${number}`, body: piece })),
        ...piecesOf(object, parts),
      ];
      try {
        const stored = await this.#objects.commit(bucket, key, object, { conditions, also });
        // Parts that came after the others were read.
        if (stored) await this.removeParts(id);
        return stored;
      } catch (error) {
        // A part was replaced, or somebody else completed or aborted it: that is seen when it is looked at again.
        if (!(error instanceof RevisionConflict)) throw error;
      }
    }
    throw new R2Error('TooManyRequests', 'Reduce your concurrent request rate for the same upload.');
  }

  /** Throws R2Error NoSuchUpload. */
  async abort(bucket: Bucket, key: string, id: string): Promise<void> {
    const upload = await this.#find(bucket, key, id);
    try {
      await this.#ledger.delete(upload.key, upload.revision);
    } catch (error) {
      if (error instanceof RevisionConflict) throw noSuchUpload();
      throw error;
    }
    await this.removeParts(id);
  }

  /** Of uploads that have parts, also of those that are no more. `pause` is awaited between two of them. */
  async idsWithParts(pause: () => Promise<unknown>): Promise<Set<string>> {
    const ids = new Set<string>();
    for (let after: string | undefined; ; await pause()) {
      const [part] = await this.#ledger.list('part/', { limit: 1, ...(after && { after }) });
      if (!part) return ids;
      const id = part.key.split('/')[1]!;
      ids.add(id);
      // Behind its last part.
      after = `${keys.parts(id)}\u{10FFFF}`;
    }
  }

  /** Of an upload that is no more. */
  async removeParts(id: string): Promise<void> {
    for (;;) {
      const page = await this.#ledger.list<UploadedPart>(keys.parts(id), { limit: PAGE });
      if (page.length === 0) return;
      for (const { value } of page) await this.#bodies.delete(value.piece);
      await this.#ledger.write(page.map((entry) => ({ key: entry.key, value: null })));
    }
  }

  async #find(bucket: Bucket, key: string, id: string) {
    checkObjectKey(key);
    const entry = /^[\w-]{43}$/.test(id) ? await this.#ledger.get<Upload>(keys.upload(bucket.id, id)) : null;
    if (entry?.value.key !== key) throw noSuchUpload();
    return entry;
  }
}

/** The object that parts make. Throws R2Error EntityTooSmall, UnequalParts, EntityTooLarge. */
async function assembled(parts: UploadedPart[], upload: Upload, composite?: Composite): Promise<StoredObject> {
  checkSizes(parts);
  const size = parts.reduce((sum, part) => sum + part.size, 0);
  if (size > R2.objectBytes) {
    throw new R2Error('EntityTooLarge', 'Your proposed upload exceeds the maximum allowed object size.');
  }
  const pieces = parts.flatMap(({ piece }) => piece ?? []);
  const s3 = await composite?.(parts, upload);
  const { http, custom, storageClass } = upload;
  return {
    http,
    custom,
    storageClass,
    version: randomBytes(16).toString('hex'),
    size,
    etag: etagOf(parts),
    uploaded: Date.now(),
    checksums: {},
    ...(s3 && { s3 }),
    body: pieces.length > 1 ? pieces.length : (pieces[0] ?? null),
  };
}

/** The document of an object's pieces, if it has one. */
function piecesOf({ version, body }: StoredObject, parts: UploadedPart[]): Write[] {
  if (typeof body !== 'number') return [];
  return [{ key: keys.pieces(version), value: { pieces: parts.flatMap(({ piece }) => piece ?? []) } }];
}

function noSuchUpload(): R2Error {
  return new R2Error('NoSuchUpload', 'The specified multipart upload does not exist.');
}

/** The uploaded parts that were named. */
function chosen(all: UploadedPart[], named: NamedPart[]): UploadedPart[] {
  if (named.length === 0) throw new R2Error('InvalidPart', 'You must specify at least one part.');
  const byNumber = new Map(all.map((part) => [part.number, part]));
  return named.map(({ number, etag }, index) => {
    if (index > 0 && number <= named[index - 1]!.number) {
      throw new R2Error('InvalidPartOrder', 'The list of parts was not in ascending order.');
    }
    const part = byNumber.get(number);
    if (part?.etag !== etag) throw new R2Error('InvalidPart', 'One or more of the specified parts could not be found.');
    return part;
  });
}

/** As R2 has it: at least 5 MiB and of one size, except the last. */
function checkSizes(parts: UploadedPart[]): void {
  for (const { size } of parts.slice(0, -1)) {
    if (size < R2.minPartBytes) {
      throw new R2Error('EntityTooSmall', 'Your proposed upload is smaller than the minimum allowed object size.');
    }
    if (size !== parts[0]!.size) {
      throw new R2Error('UnequalParts', 'All non-trailing parts must have the same length.');
    }
  }
  if (parts.length > 1 && parts.at(-1)!.size > parts[0]!.size) {
    throw new R2Error('UnequalParts', 'All non-trailing parts must have the same length.');
  }
}

/** MD5 over the parts' MD5s, and how many they are: as S3 makes it. */
function etagOf(parts: UploadedPart[]): string {
  const md5 = createHash('md5');
  for (const { etag } of parts) md5.update(Buffer.from(etag, 'hex'));
  return `${md5.digest('hex')}-${parts.length}`;
}
