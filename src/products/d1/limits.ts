/**
 * Limits of D1 (https://developers.cloudflare.com/d1/platform/limits/), sizes in bytes, times in ms. Those of SQL itself (100 KB for a
 * statement, 100 bound parameters, 100 columns ...) are built into the runtime; the size of a database is in `system-workers/d1.js`.
 */
export const D1 = {
  databasesPerAccount: 50_000,
  nameLength: 64,
  /** CPU time of a statement: it keeps its process from everything else, and so is the whole turn. */
  queryCpuMs: 30_000,
  /** Of a database's process. */
  memoryMb: 128,
  /** Questions that wait for one database. */
  queued: 1_000,
  /** Body of one question of a binding. */
  requestBytes: 100 * 1024 * 1024,
  /** Body of a query of the control API: `wrangler d1 migrations apply` sends a whole file. */
  apiQueryBytes: 10 * 1024 * 1024,
  importBytes: 5_000_000_000,
} as const;

/** A name is not an id: `wrangler d1` finds databases by either. */
export const NAME = /^[A-Za-z0-9][A-Za-z0-9_-]*$/;
export const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** A question that its database did not answer; `message` is for who asked, in Cloudflare's words. */
export class DatabaseError extends Error {
  override name = 'DatabaseError';
}
