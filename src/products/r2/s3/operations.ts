/** Which operation a request asks for: by its method, what it names, and its query. */
import { R2Error } from '../limits.ts';
import * as buckets from './buckets.ts';
import type { Call } from './call.ts';
import { listObjectsV1, listObjectsV2 } from './listing.ts';
import * as multipart from './multipart.ts';
import * as objects from './objects.ts';

export type Operation = (call: Call) => Promise<void>;

/** Sub-resources of S3 that are not here. */
const ABSENT = new Set(
  `accelerate acl analytics attributes intelligent-tiering inventory legal-hold logging metrics notification object-lock ownershipControls
   policy policyStatus publicAccessBlock replication requestPayment restore retention select tagging torrent versioning versions website
   encryption metadataTable session append`.split(/\s+/),
);

export function operationOf({ request, target, query }: Pick<Call, 'request' | 'target' | 'query'>): Operation {
  for (const name of query.keys()) {
    if (ABSENT.has(name)) throw new R2Error('NotImplemented', `The sub-resource "${name}" is not implemented.`);
  }
  const method = request.method ?? '';
  const found =
    target.bucket === null
      ? service(method)
      : target.key === null
        ? ofBucket(method, query)
        : ofObject(method, query, request.headers['x-amz-copy-source'] !== undefined);
  if (!found) throw new R2Error('MethodNotAllowed', 'The specified method is not allowed against this resource.');
  return found;
}

function service(method: string): Operation | null {
  return method === 'GET' ? buckets.listBuckets : null;
}

function ofBucket(method: string, query: ReadonlyMap<string, string>): Operation | null {
  const has = (name: string) => query.has(name);
  switch (method) {
    case 'GET':
      if (has('location')) return buckets.getBucketLocation;
      if (has('cors')) return buckets.getBucketCors;
      if (has('lifecycle')) return buckets.getBucketLifecycle;
      if (has('uploads')) return multipart.listMultipartUploads;
      return query.get('list-type') === '2' ? listObjectsV2 : listObjectsV1;
    case 'HEAD':
      return buckets.headBucket;
    case 'PUT':
      if (has('cors')) return buckets.putBucketCors;
      if (has('lifecycle')) return buckets.putBucketLifecycle;
      return buckets.createBucket;
    case 'DELETE':
      if (has('cors')) return buckets.deleteBucketCors;
      if (has('lifecycle')) return buckets.deleteBucketLifecycle;
      return buckets.deleteBucket;
    case 'POST':
      return has('delete') ? objects.deleteObjects : null;
    default:
      return null;
  }
}

function ofObject(method: string, query: ReadonlyMap<string, string>, copies: boolean): Operation | null {
  const inUpload = query.has('uploadId');
  switch (method) {
    case 'GET':
      return inUpload ? multipart.listParts : objects.getObject;
    case 'HEAD':
      return objects.getObject;
    case 'PUT':
      if (inUpload) return copies ? multipart.uploadPartCopy : multipart.uploadPart;
      return copies ? objects.copyObject : objects.putObject;
    case 'POST':
      if (query.has('uploads')) return multipart.createMultipartUpload;
      return inUpload ? multipart.completeMultipartUpload : null;
    case 'DELETE':
      return inUpload ? multipart.abortMultipartUpload : objects.deleteObject;
    default:
      return null;
  }
}
