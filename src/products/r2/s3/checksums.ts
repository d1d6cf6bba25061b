/** Checksums that S3 clients send with a body, in a header or behind it, and those of objects that were uploaded in parts. */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { Crc32c, Crc64NvmeJs } from '@aws-sdk/checksums/crc';
import type { S3Checksum, Upload, UploadedPart } from '../documents.ts';
import { R2Error } from '../limits.ts';
import type { ChecksumCheck } from '../objects.ts';

export type Algorithm = S3Checksum['algorithm'];
const ALGORITHMS: Algorithm[] = ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'];
const fieldOf = (algorithm: string) => `x-amz-checksum-${algorithm.toLowerCase()}`;

/** As a client names it; undefined if it names none. Throws R2Error InvalidRequest. */
export function algorithmOf(text: string | undefined): Algorithm | undefined {
  if (text === undefined) return undefined;
  const found = ALGORITHMS.find((each) => each === text.toUpperCase());
  if (!found)
    throw new R2Error(
      'InvalidRequest',
      `The checksum algorithm "${text.slice(0, 32)}" is not one of: ${ALGORITHMS.join(', ')}.`,
    );
  return found;
}

/**
 * The check of the checksum that a request announces; undefined if it announces none. `headers` in lower case; `trailers` are there when the
 * body has ended.
 */
export function checksumOf(
  headers: Record<string, string | string[] | undefined>,
  trailers: ReadonlyMap<string, string>,
): ChecksumCheck | undefined {
  const announced = String(headers['x-amz-trailer'] ?? '').toLowerCase();
  for (const algorithm of ALGORITHMS) {
    const field = fieldOf(algorithm);
    const given = headers[field];
    const behind = announced.split(',').some((name) => name.trim() === field);
    if (typeof given === 'string' || behind) {
      return checkOf(algorithm, () => (typeof given === 'string' ? given : trailers.get(field)));
    }
  }
  return undefined;
}

function checkOf(algorithm: Algorithm, expected: () => string | undefined): ChecksumCheck {
  const sum = start(algorithm);
  return {
    digest: sum,
    async finish() {
      const value = await sum.end();
      if (value !== expected()) {
        throw new R2Error('BadDigest', `The ${algorithm} you specified did not match the calculated checksum.`);
      }
      return { algorithm, type: 'FULL_OBJECT', value };
    },
  };
}

/** What R2 makes of parts whose upload announced an algorithm: the checksum of their checksums. Throws R2Error. */
export async function compositeOf(parts: UploadedPart[], { s3 }: Upload): Promise<S3Checksum | undefined> {
  if (!s3 || s3.type === 'FULL_OBJECT') return undefined;
  const sum = start(s3.algorithm);
  for (const { s3: own } of parts) {
    if (own?.algorithm !== s3.algorithm) return undefined;
    sum.update(Buffer.from(own.value, 'base64'));
  }
  return { algorithm: s3.algorithm, type: 'COMPOSITE', value: `${await sum.end()}-${parts.length}` };
}

/** The fields of an answer. */
export function checksumHeaders(checksum: S3Checksum | undefined): Record<string, string> {
  if (!checksum) return {};
  return { [fieldOf(checksum.algorithm)]: checksum.value, 'x-amz-checksum-type': checksum.type };
}

/** The elements of an answer in XML. */
export function checksumElements(checksum: S3Checksum | undefined): Record<string, string> {
  if (!checksum) return {};
  return { [`Checksum${checksum.algorithm}`]: checksum.value, ChecksumType: checksum.type };
}

interface Sum {
  update(chunk: Uint8Array): void;
  /** Base64. */
  end(): Promise<string>;
}

function start(algorithm: Algorithm): Sum {
  switch (algorithm) {
    case 'CRC32': {
      let sum = 0;
      return {
        update(chunk) {
          sum = crc32(chunk, sum);
        },
        async end() {
          const bytes = Buffer.alloc(4);
          bytes.writeUInt32BE(sum);
          return bytes.toString('base64');
        },
      };
    }
    case 'CRC32C':
    case 'CRC64NVME': {
      const sum = algorithm === 'CRC32C' ? new Crc32c() : new Crc64NvmeJs();
      return {
        update: (chunk) => sum.update(chunk),
        end: async () => Buffer.from(await sum.digest()).toString('base64'),
      };
    }
    default: {
      const hash = createHash(algorithm.toLowerCase());
      return { update: (chunk) => void hash.update(chunk), end: async () => hash.digest('base64') };
    }
  }
}
