/**
 * Limits of R2 (https://developers.cloudflare.com/r2/platform/limits/), sizes in bytes, and its errors
 * (https://developers.cloudflare.com/r2/api/error-codes/), which S3 clients see by name and bindings by number.
 */
const MiB = 1024 * 1024;
const GiB = 1024 * MiB;

export const R2 = {
  keyBytes: 1024,
  /** Of an upload in one request, and of a part. */
  uploadBytes: 5 * GiB,
  objectBytes: 5 * 1024 * GiB,
  metadataBytes: 8192,
  parts: 10_000,
  minPartBytes: 5 * MiB,
  listKeys: 1000,
  deleteKeys: 1000,
  bucketsPerAccount: 1_000_000,
  customDomainsPerBucket: 50,
  /** Uploads in parts that nobody completes are given up after this time. */
  uploadDays: 7,
  lifecycleRules: 1000,
  corsRules: 100,
} as const;

export const R2_ERRORS = {
  InternalError: { code: 10001, status: 500 },
  Unauthorized: { code: 10002, status: 401 },
  AccessDenied: { code: 10003, status: 403 },
  InvalidBucketName: { code: 10005, status: 400 },
  NoSuchBucket: { code: 10006, status: 404 },
  NoSuchKey: { code: 10007, status: 404 },
  BucketNotEmpty: { code: 10008, status: 409 },
  TooManyBuckets: { code: 10009, status: 400 },
  EntityTooSmall: { code: 10011, status: 400 },
  MetadataTooLarge: { code: 10012, status: 400 },
  IncompleteBody: { code: 10013, status: 400 },
  InvalidDigest: { code: 10014, status: 400 },
  ExpiredRequest: { code: 10018, status: 400 },
  InvalidObjectName: { code: 10020, status: 400 },
  InvalidMaxKeys: { code: 10022, status: 400 },
  NoSuchUpload: { code: 10024, status: 404 },
  InvalidPart: { code: 10025, status: 400 },
  InvalidArgument: { code: 10029, status: 400 },
  PreconditionFailed: { code: 10031, status: 412 },
  MissingContentLength: { code: 10033, status: 411 },
  SignatureDoesNotMatch: { code: 10035, status: 403 },
  BadDigest: { code: 10037, status: 400 },
  InvalidRange: { code: 10039, status: 416 },
  MalformedXML: { code: 10040, status: 400 },
  ServiceUnavailable: { code: 10043, status: 503 },
  /** Its name over S3 is InvalidPart. */
  UnequalParts: { code: 10048, status: 400 },
  TooManyRequests: { code: 10058, status: 429 },
  NoSuchCORSConfiguration: { code: 10059, status: 404 },
  BucketConflict: { code: 10073, status: 409 },
  EntityTooLarge: { code: 100100, status: 400 },
  // Of S3 alone: Cloudflare's list has no number for them.
  InvalidPartOrder: { code: 10029, status: 400 },
  InvalidRequest: { code: 10029, status: 400 },
  InvalidRegionName: { code: 10029, status: 400 },
  RequestTimeTooSkewed: { code: 10035, status: 403 },
  MethodNotAllowed: { code: 10029, status: 405 },
  NotImplemented: { code: 10029, status: 501 },
  NoSuchLifecycleConfiguration: { code: 10029, status: 404 },
} as const satisfies Record<string, { code: number; status: number }>;

export type R2ErrorName = keyof typeof R2_ERRORS;

/** The request cannot be served; `message` is for its sender. */
export class R2Error extends Error {
  override name = 'R2Error';
  readonly error: R2ErrorName;
  constructor(error: R2ErrorName, message: string) {
    super(message);
    this.error = error;
  }
  get code(): number {
    return R2_ERRORS[this.error].code;
  }
  get status(): number {
    return R2_ERRORS[this.error].status;
  }
}

export const noSuchBucket = () => new R2Error('NoSuchBucket', 'The specified bucket does not exist.');
export const noSuchKey = () => new R2Error('NoSuchKey', 'The specified key does not exist.');
export const preconditionFailed = () =>
  new R2Error('PreconditionFailed', 'At least one of the pre-conditions you specified did not hold.');

/** Throws R2Error for what is no key of an object. */
export function checkObjectKey(key: string): void {
  if (key === '') throw new R2Error('InvalidObjectName', 'The specified object name is not valid: it is empty.');
  // Such a text has no UTF-8 form, and so no way over the wire.
  if (!key.isWellFormed()) {
    throw new R2Error('InvalidObjectName', 'The specified object name is not valid: it is no Unicode text.');
  }
  const length = Buffer.byteLength(key);
  if (length > R2.keyBytes) {
    throw new R2Error(
      'InvalidObjectName',
      `The specified object name is not valid: it has ${length} bytes, and ${R2.keyBytes} are the most.`,
    );
  }
}

/** 3 to 63 letters, digits and hyphens, no hyphen at either end. */
export function checkBucketName(name: string): void {
  if (!/^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/.test(name)) {
    throw new R2Error(
      'InvalidBucketName',
      'The specified bucket name is not valid: 3 to 63 lower-case letters, digits and hyphens, no hyphen at either end.',
    );
  }
}

/** How many keys a list gives; above the most, the most. Throws R2Error. */
export function maxKeys(given: number | string | null | undefined): number {
  if (given === null || given === undefined || given === '') return R2.listKeys;
  const limit = Number(given);
  if (!Number.isInteger(limit) || limit < 0) {
    throw new R2Error('InvalidMaxKeys', 'MaxKeys params must be positive integer <= 1000.');
  }
  return Math.min(limit, R2.listKeys);
}
