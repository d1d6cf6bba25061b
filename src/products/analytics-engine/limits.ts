/** Limits of Analytics Engine (https://developers.cloudflare.com/analytics/analytics-engine/limits/). Sizes in bytes, times in ms. */
const MiB = 1024 * 1024;

export const ANALYTICS = {
  blobs: 20,
  doubles: 20,
  indexes: 1,
  indexBytes: 96,
  /** All blobs of a point together. */
  blobBytes: 16 * 1024,
  /** In one turn of an invocation: nothing tells which points of different turns belong together. */
  pointsPerTurn: 250,
  /** "Three months". */
  retentionDays: 92,
  datasetLength: 64,
  datasetsPerAccount: 1000,
  /** Of an account's file; above it the oldest points go. */
  bytesPerAccount: 8 * 1024 * MiB,
  /** One POST of the binding: what a turn may write, escaped as JSON. */
  postBytes: 25 * MiB,
  /** POSTs of one process that are being read. */
  readingBytes: 50 * MiB,
  /** Points that wait for the disk, of one account and of all; more are dropped. */
  waitingPerAccount: 50_000,
  waiting: 200_000,
  /** Text of a query. */
  queryBytes: 64 * 1024,
  queryMs: 10_000,
  resultRows: 50_000,
  resultBytes: 16 * MiB,
  /** Queries at once on this machine, and those that wait for their turn, of one account. */
  queries: 2,
  waitingQueriesPerAccount: 8,
} as const;

/** Names that SQL can say without quotes, or with a dash in quotes. */
export function isDatasetName(name: string): boolean {
  return /^[A-Za-z_][\w-]*$/.test(name) && name.length <= ANALYTICS.datasetLength && !/^sqlite_/i.test(name);
}
