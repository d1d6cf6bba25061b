/**
 * Limits of Queues (https://developers.cloudflare.com/queues/platform/limits/), sizes in bytes (1 KB is 1000 bytes there), times in
 * seconds unless the name says otherwise, and the errors of its data plane
 * (https://developers.cloudflare.com/queues/reference/error-codes/).
 */
export const QUEUES = {
  perAccount: 10_000,
  nameLength: 63,
  messageBytes: 128_000,
  batchMessages: 100,
  batchBytes: 256_000,
  maxDelay: 86_400,
  backlogBytes: 25_000_000_000,
  defaultRetention: 345_600,
  minRetention: 60,
  maxRetention: 1_209_600,
  /** Of a consumer. */
  batchSize: 100,
  maxWaitMs: 60_000,
  maxRetries: 100,
  maxConcurrency: 250,
  maxVisibilityMs: 12 * 3_600_000,
  handlerMs: 15 * 60_000,
  /** Acknowledgements and retries of one request. */
  acksPerRequest: 1000,
} as const;

/** What a consumer gets that did not say. */
export const DEFAULTS = {
  batchSize: 10,
  pullBatchSize: 5,
  maxWaitMs: 5_000,
  maxRetries: 3,
  retryDelay: 0,
  visibilityMs: 30_000,
  /** Batches at once. Cloudflare adds as many as the backlog asks for, up to 250; one machine has fewer cores. */
  concurrency: 10,
} as const;

export const FORMATS = ['json', 'text', 'bytes', 'v8'] as const;
export type Format = (typeof FORMATS)[number];

/** Code -> status, and the status line's reason where the runtime shows no more than that. */
const CODES = {
  10104: 404,
  10202: 400,
  10203: 400,
  10204: 413,
  10205: 413,
  10206: 400,
  10207: 400,
  10208: 400,
  10250: 429,
  10251: 429,
  15000: 500,
} as const;
export type QueueErrorCode = keyof typeof CODES;

/** The request cannot be served; `message` is for its sender. */
export class QueueError extends Error {
  override name = 'QueueError';
  readonly code: QueueErrorCode;
  readonly status: number;
  constructor(code: QueueErrorCode, message: string) {
    super(message);
    this.code = code;
    this.status = CODES[code];
  }
}

/** Throws QueueError for a message that is too long. */
export function checkSize(bytes: number): void {
  if (bytes <= QUEUES.messageBytes) return;
  throw new QueueError(10204, `message length of ${bytes} bytes exceeds limit of ${QUEUES.messageBytes}`);
}

/** Throws QueueError for more than one request may send. */
export function checkBatch(sizes: readonly number[]): void {
  if (sizes.length === 0) throw new QueueError(10206, 'a batch has at least one message');
  if (sizes.length > QUEUES.batchMessages) {
    throw new QueueError(10206, `batch message count of ${sizes.length} exceeds limit of ${QUEUES.batchMessages}`);
  }
  sizes.forEach(checkSize);
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  if (bytes > QUEUES.batchBytes) {
    throw new QueueError(10205, `batch size of ${bytes} bytes exceeds limit of ${QUEUES.batchBytes}`);
  }
}

/** Seconds from what a sender gave (a number or a header's text); undefined if it gave none. Throws QueueError with `code`. */
export function delayOf(given: unknown, code: 10202 | 10203): number | undefined {
  if (given === undefined || given === null) return undefined;
  const text = typeof given === 'number' || typeof given === 'string' ? String(given) : typeof given;
  const delay = text.trim() === '' ? Number.NaN : Number(text);
  if (Number.isInteger(delay) && delay >= 0 && delay <= QUEUES.maxDelay) return delay;
  throw new QueueError(
    code,
    `Invalid delay of ${text.slice(0, 32)}: it must be a whole number of seconds from 0 to ${QUEUES.maxDelay}`,
  );
}

/** Throws QueueError for a content type that there is not. Without one a message is of the runtime's own format. */
export function formatOf(given: unknown): Format {
  if (given === undefined || given === null) return 'v8';
  const text = typeof given === 'string' ? given.toLowerCase() : typeof given;
  const format = FORMATS.find((known) => known === text);
  if (!format) throw new QueueError(10203, `Unsupported message content type: ${text.slice(0, 32)}`);
  return format;
}
