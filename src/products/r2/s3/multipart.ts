/** Uploads in parts in the S3 API (https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html). */
import { z } from 'zod';
import { conditionsOf } from '../conditions.ts';
import { preconditionFailed, R2, R2Error } from '../limits.ts';
import { compareKeys } from '../listing.ts';
import { rangeOf } from '../ranges.ts';
import { encodeKey } from '../source.ts';
import type { Call } from './call.ts';
import { algorithmOf, checksumElements, checksumHeaders, checksumOf, compositeOf } from './checksums.ts';
import { checkCopySize, copySource, metadataOf, READ, WRITE } from './objects.ts';
import { many, parseXml } from './xml.ts';

const MAX_LISTED = 1000;

export async function createMultipartUpload(call: Call): Promise<void> {
  const { uploads, usage } = call.parts.r2;
  const bucket = await call.bucket(WRITE);
  const algorithm = algorithmOf(call.header('x-amz-checksum-algorithm'));
  const full = call.header('x-amz-checksum-type') === 'FULL_OBJECT' || algorithm === 'CRC64NVME';
  const type = full ? 'FULL_OBJECT' : 'COMPOSITE';
  usage.count(bucket, { classA: 1 });
  const upload = await uploads.create(
    bucket,
    call.target.key!,
    metadataOf(call, bucket),
    algorithm && { algorithm, type },
  );
  call.sendXml(
    'InitiateMultipartUploadResult',
    { Bucket: bucket.name, Key: upload.key, UploadId: upload.id },
    algorithm && { 'x-amz-checksum-algorithm': algorithm, 'x-amz-checksum-type': type },
  );
}

export async function uploadPart(call: Call): Promise<void> {
  const { uploads, usage } = call.parts.r2;
  const bucket = await call.bucket(WRITE);
  const length = call.uploadLength();
  usage.count(bucket, { classA: 1, ingressBytes: length });
  const part = await uploads.uploadPart(bucket, call.target.key!, uploadId(call), partNumber(call), call.body(), {
    expectedMd5: call.expectedMd5(),
    checksum: checksumOf(call.headers, call.trailers),
  });
  const { 'x-amz-checksum-type': _, ...checksum } = checksumHeaders(part.s3);
  call.send(200, { etag: `"${part.etag}"`, ...checksum, 'content-length': 0 });
}

export async function uploadPartCopy(call: Call): Promise<void> {
  const { uploads, objects, usage } = call.parts.r2;
  const bucket = await call.bucket(WRITE);
  call.takesLong();
  const { object } = await copySource(call);
  const given = call.header('x-amz-copy-source-range');
  const match = /^bytes=(\d{1,15})-(\d{1,15})$/.exec(given ?? '');
  if (given !== undefined && (!match || Number(match[2]) >= object.size || Number(match[1]) > Number(match[2]))) {
    throw new R2Error(
      'InvalidArgument',
      'The x-amz-copy-source-range value must be of the form bytes=first-last, within the source.',
    );
  }
  const range = match
    ? rangeOf({ offset: Number(match[1]), length: Number(match[2]) - Number(match[1]) + 1 }, object.size)
    : null;
  checkCopySize(range ? range.end - range.start + 1 : object.size);
  usage.count(bucket, { classA: 1 });
  const body = objects.read(object, range ?? undefined);
  const part = await uploads.uploadPart(bucket, call.target.key!, uploadId(call), partNumber(call), body);
  call.sendXml('CopyPartResult', { ETag: `"${part.etag}"`, LastModified: new Date(part.uploaded).toISOString() });
}

const Completion = z.object({
  CompleteMultipartUpload: z.object({
    Part: many(z.object({ PartNumber: z.coerce.number().int(), ETag: z.string() })),
  }),
});

export async function completeMultipartUpload(call: Call): Promise<void> {
  const { uploads, usage } = call.parts.r2;
  const bucket = await call.bucket(WRITE);
  const parsed = Completion.safeParse(parseXml(await call.text()));
  if (!parsed.success || parsed.data.CompleteMultipartUpload.Part.length > R2.parts) {
    throw new R2Error('MalformedXML', `1 to ${R2.parts} parts with their PartNumber and ETag must be named.`);
  }
  const named = parsed.data.CompleteMultipartUpload.Part.map(({ PartNumber, ETag }) => ({
    number: PartNumber,
    etag: ETag.replace(/^"|"$/g, ''),
  }));
  usage.count(bucket, { classA: 1 });
  const key = call.target.key!;
  const object = await uploads.complete(bucket, key, uploadId(call), named, {
    conditions: conditionsOf(call.headers),
    composite: compositeOf,
  });
  if (!object) throw preconditionFailed();
  call.sendXml('CompleteMultipartUploadResult', {
    Location: `/${bucket.name}/${encodeKey(key)}`,
    Bucket: bucket.name,
    Key: key,
    ETag: `"${object.etag}"`,
    ...checksumElements(object.s3),
  });
}

export async function abortMultipartUpload(call: Call): Promise<void> {
  const bucket = await call.bucket(WRITE);
  await call.parts.r2.uploads.abort(bucket, call.target.key!, uploadId(call));
  call.send(204);
}

export async function listParts(call: Call): Promise<void> {
  const { uploads, usage } = call.parts.r2;
  const bucket = await call.bucket(READ);
  const upload = await uploads.get(bucket, call.target.key!, uploadId(call));
  const marker = numberIn(call, 'part-number-marker', 0);
  const limit = Math.min(MAX_LISTED, numberIn(call, 'max-parts', MAX_LISTED));
  usage.count(bucket, { classA: 1 });
  const found = await uploads.parts(upload.id, marker, limit + 1);
  const parts = found.slice(0, limit);
  call.sendXml('ListPartsResult', {
    Bucket: bucket.name,
    Key: upload.key,
    UploadId: upload.id,
    PartNumberMarker: marker,
    ...(found.length > limit && { NextPartNumberMarker: parts.at(-1)?.number ?? marker }),
    MaxParts: limit,
    IsTruncated: found.length > limit,
    ...(upload.s3 && { ChecksumAlgorithm: upload.s3.algorithm }),
    StorageClass: upload.storageClass === 'Standard' ? 'STANDARD' : 'STANDARD_IA',
    Part: parts.map(({ number, uploaded, etag, size, s3 }) => ({
      PartNumber: number,
      LastModified: new Date(uploaded).toISOString(),
      ETag: `"${etag}"`,
      Size: size,
      ...(s3 && { [`Checksum${s3.algorithm}`]: s3.value }),
    })),
  });
}

export async function listMultipartUploads(call: Call): Promise<void> {
  const { uploads, usage } = call.parts.r2;
  const bucket = await call.bucket(READ);
  const prefix = call.query.get('prefix') ?? '';
  const keyMarker = call.query.get('key-marker') ?? '';
  const idMarker = call.query.get('upload-id-marker') ?? '';
  const limit = Math.min(MAX_LISTED, numberIn(call, 'max-uploads', MAX_LISTED));
  usage.count(bucket, { classA: 1 });
  const all = (await uploads.list(bucket)).filter(({ key }) => key.startsWith(prefix));
  const at = all.findIndex(({ key, id }) => key === keyMarker && id === idMarker);
  const from = keyMarker === '' ? 0 : at >= 0 ? at + 1 : all.findIndex(({ key }) => compareKeys(key, keyMarker) > 0);
  const found = from < 0 ? [] : all.slice(from, from + limit + 1);
  const shown = found.slice(0, limit);
  const last = shown.at(-1);
  call.sendXml('ListMultipartUploadsResult', {
    Bucket: bucket.name,
    KeyMarker: keyMarker,
    UploadIdMarker: idMarker,
    ...(found.length > limit && last && { NextKeyMarker: last.key, NextUploadIdMarker: last.id }),
    Prefix: prefix,
    MaxUploads: limit,
    IsTruncated: found.length > limit,
    Upload: shown.map(({ key, id, initiated, storageClass }) => ({
      Key: key,
      UploadId: id,
      StorageClass: storageClass === 'Standard' ? 'STANDARD' : 'STANDARD_IA',
      Initiated: new Date(initiated).toISOString(),
    })),
  });
}

function uploadId(call: Call): string {
  return call.query.get('uploadId') ?? '';
}

function partNumber(call: Call): number {
  return Number(call.query.get('partNumber'));
}

function numberIn({ query }: Call, name: string, usual: number): number {
  const text = query.get(name);
  if (text === undefined || text === '') return usual;
  if (!/^\d{1,9}$/.test(text)) throw new R2Error('InvalidArgument', `${name} must be a whole number.`);
  return Number(text);
}
