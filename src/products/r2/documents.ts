/** What R2 knows durably: documents of its ledger, and their keys. Times are ms since 1970. */
import { ledgerKey } from '../../state/ordered-keys.ts';

export interface HttpFields {
  contentType?: string;
  contentLanguage?: string;
  contentDisposition?: string;
  contentEncoding?: string;
  cacheControl?: string;
  /** The header Expires: ms since 1970. */
  cacheExpiry?: number;
}

export type StorageClass = 'Standard' | 'InfrequentAccess';

/** What of a body is known by a hash, as hex digits. */
export interface Checksums {
  md5?: string;
  sha1?: string;
  sha256?: string;
  sha384?: string;
  sha512?: string;
}

/** The checksum that an S3 client gave, or asked for, as it is sent back: base64, with "-<parts>" if it is one of parts. */
export interface S3Checksum {
  algorithm: 'CRC32' | 'CRC32C' | 'CRC64NVME' | 'SHA1' | 'SHA256';
  type: 'FULL_OBJECT' | 'COMPOSITE';
  value: string;
}

/** Bytes on disk: a blob of R2's own form (`bodies.ts`). */
export interface Piece {
  blob: string;
  size: number;
}

export interface ObjectMetadata {
  http: HttpFields;
  custom: [name: string, value: string][];
  storageClass: StorageClass;
}

export interface StoredObject extends ObjectMetadata {
  /** 32 hex digits; each write makes another. */
  version: string;
  size: number;
  /** Without quotes. */
  etag: string;
  uploaded: number;
  checksums: Checksums;
  s3?: S3Checksum;
  /** The body; of an upload in parts its pieces are a document of their own (`keys.pieces`), and this is how many. */
  body: Piece | number | null;
}

export interface Upload extends ObjectMetadata {
  id: string;
  key: string;
  initiated: number;
  /** What the client of the S3 API announced. */
  s3?: Pick<S3Checksum, 'algorithm' | 'type'>;
}

export interface UploadedPart {
  number: number;
  size: number;
  etag: string;
  uploaded: number;
  piece: Piece | null;
  s3?: S3Checksum;
}

export interface CorsRule {
  id?: string;
  allowed: { origins: string[]; methods: string[]; headers?: string[] };
  exposeHeaders?: string[];
  maxAgeSeconds?: number;
}

/** As in the control API (https://developers.cloudflare.com/api/resources/r2/subresources/buckets/subresources/lifecycle/). */
export interface LifecycleRule {
  id: string;
  enabled: boolean;
  conditions: { prefix: string };
  deleteObjectsTransition?: { condition: LifecycleCondition };
  storageClassTransitions?: { condition: LifecycleCondition; storageClass: 'InfrequentAccess' }[];
  abortMultipartUploadsTransition?: { condition: { type: 'Age'; maxAge: number } };
}

/** `maxAge` in seconds. */
export type LifecycleCondition = { type: 'Age'; maxAge: number } | { type: 'Date'; date: string };

/** Where objects that are missing here are taken from. */
export interface Source {
  provider: 'aws' | 'gcs' | 's3';
  /** Origin of the S3 API, "https://s3.eu-central-1.amazonaws.com". */
  endpoint: string;
  region: string;
  bucket: string;
  accessKeyId: string;
  /** Sealed by the vault. */
  secretAccessKey: string;
}

export interface Bucket {
  /** 32 hex digits: a bucket that is made anew under its name gets another. */
  id: string;
  accountId: string;
  name: string;
  /** ISO 8601. */
  createdOn: string;
  location: string;
  jurisdiction: string;
  storageClass: StorageClass;
  cors: CorsRule[];
  lifecycle: LifecycleRule[];
  source: Source | null;
  /** Somebody deletes it just now (ms since 1970), if it is empty: nothing may be written meanwhile. */
  deletingSince?: number;
}

/** An object's blobs that it has no more; they are removed later, so that who reads them now can go on. */
export interface Garbage {
  version: string;
  body: StoredObject['body'];
}

export interface JobCounts {
  /** Of the source's list. */
  objects: number;
  transferred: number;
  skipped: number;
  failed: number;
  /** Of what was transferred. */
  bytes: number;
}

/** A bucket of S3 that is copied here. */
export interface Job {
  /** 32 hex digits. */
  id: string;
  accountId: string;
  bucket: { id: string; name: string };
  /** Its secret is empty when the job has ended. */
  source: Source;
  prefix: string;
  overwrite: boolean;
  status: 'running' | 'paused' | 'aborted' | 'completed';
  createdAt: number;
  finishedAt: number | null;
  /** Of the pages of the source's list that are done. */
  done: JobCounts;
  /** Of the page that is being copied, as far as is known. */
  page: JobCounts;
  /** Where that page begins: undefined for the first one. */
  token?: string | undefined;
  /** Why it paused or was aborted by itself. */
  error: string | null;
  /** Entries of its log. */
  logged: number;
}

/** As in the control API (https://developers.cloudflare.com/api/resources/r2/subresources/super_slurper/). */
export interface JobLog {
  createdAt: string;
  logType:
    | 'migrationStart'
    | 'migrationComplete'
    | 'migrationAbort'
    | 'migrationError'
    | 'migrationPause'
    | 'migrationResume'
    | 'migrationErrorFailedContinuation'
    | 'importErrorRetryExhaustion'
    | 'importSkippedStorageClass';
  message: string | null;
  objectKey: string | null;
}

const digits = (number: number) => String(number).padStart(5, '0');

export const keys = {
  bucket: (accountId: string, name: string) => `bucket/${accountId}/${name}`,
  buckets: (accountId?: string) => (accountId === undefined ? 'bucket/' : `bucket/${accountId}/`),
  /** Namespace of a bucket's objects, for `state/ordered-keys.ts`. */
  objects: (bucketId: string) => `object/${bucketId}`,
  object: (bucketId: string, key: string) => ledgerKey(`object/${bucketId}`, key),
  pieces: (version: string) => `pieces/${version}`,
  upload: (bucketId: string, id: string) => `upload/${bucketId}/${id}`,
  uploads: (bucketId: string) => `upload/${bucketId}/`,
  part: (uploadId: string, number: number) => `part/${uploadId}/${digits(number)}`,
  parts: (uploadId: string) => `part/${uploadId}/`,
  /** `since` (ms since 1970, of 13 digits until the year 2286) puts them in order. */
  garbage: (since: number, version: string) => `garbage/${since}/${version}`,
  garbages: 'garbage/',
  /** Host name -> where a bucket is public. */
  domain: (hostname: string) => `domain/${hostname}`,
  domains: 'domain/',
  job: (accountId: string, id: string) => `job/${accountId}/${id}`,
  jobs: (accountId?: string) => (accountId === undefined ? 'job/' : `job/${accountId}/`),
  jobLog: (jobId: string, number: number) => `job-log/${jobId}/${digits(number)}`,
  jobLogs: (jobId: string) => `job-log/${jobId}/`,
};
