/** ListObjects and ListObjectsV2 (https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html). */
import { maxKeys, R2Error } from '../limits.ts';
import { decodeCursor, encodeCursor, type Listed, listObjects, type Position } from '../listing.ts';
import { encodeKey } from '../source.ts';
import type { Call } from './call.ts';
import { READ } from './objects.ts';

export async function listObjectsV2(call: Call): Promise<void> {
  const token = call.query.get('continuation-token');
  const startAfter = call.query.get('start-after');
  const after = token ? decodeCursor(token) : startAfter ? { key: startAfter } : undefined;
  const { listed, encode, shown } = await list(call, after);
  call.sendXml('ListBucketResult', {
    ...shown,
    KeyCount: listed.objects.length + listed.prefixes.length,
    ...(token && { ContinuationToken: token }),
    ...(listed.next && { NextContinuationToken: encodeCursor(listed.next) }),
    ...(startAfter && { StartAfter: encode(startAfter) }),
    ...contents(listed, encode),
  });
}

export async function listObjectsV1(call: Call): Promise<void> {
  const marker = call.query.get('marker');
  const delimiter = call.query.get('delimiter');
  // The marker that a list gave may be a common prefix: all that is below it was given with it.
  const isPrefix = marker && delimiter && marker.endsWith(delimiter);
  const after = marker ? (isPrefix ? { prefix: marker } : { key: marker }) : undefined;
  const { listed, encode, shown } = await list(call, after);
  const { next } = listed;
  call.sendXml('ListBucketResult', {
    ...shown,
    Marker: encode(marker ?? ''),
    ...(next && { NextMarker: encode('key' in next ? next.key : next.prefix) }),
    ...contents(listed, encode),
  });
}

async function list(call: Call, after: Position | undefined) {
  const { r2 } = call.parts;
  const bucket = await call.bucket(READ);
  const prefix = call.query.get('prefix') ?? '';
  const delimiter = call.query.get('delimiter') ?? '';
  const limit = maxKeys(call.query.get('max-keys'));
  const encoding = call.query.get('encoding-type');
  if (encoding !== undefined && encoding !== 'url') {
    throw new R2Error('InvalidArgument', 'Invalid Encoding Method specified in Request');
  }
  r2.usage.count(bucket, { classA: 1 });
  const listed = await listObjects(r2.ledger, bucket, { prefix, delimiter, limit, ...(after && { after }) });
  const encode = encoding === 'url' ? encodeKey : (text: string) => text;
  const shown = {
    Name: bucket.name,
    Prefix: encode(prefix),
    ...(delimiter && { Delimiter: encode(delimiter) }),
    MaxKeys: limit,
    ...(encoding && { EncodingType: encoding }),
    IsTruncated: listed.next !== null,
  };
  return { listed, encode, shown };
}

function contents({ objects, prefixes }: Listed, encode: (text: string) => string) {
  return {
    Contents: objects.map(({ key, object }) => ({
      Key: encode(key),
      LastModified: new Date(object.uploaded).toISOString(),
      ETag: `"${object.etag}"`,
      Size: object.size,
      StorageClass: object.storageClass === 'Standard' ? 'STANDARD' : 'STANDARD_IA',
    })),
    CommonPrefixes: prefixes.map((prefix) => ({ Prefix: encode(prefix) })),
  };
}
