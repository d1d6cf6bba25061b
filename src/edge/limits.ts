/** What one connection of an eyeball may take. */

/** Limits of one connection; times in ms, sizes in bytes. nginx and Cloudflare have the same order of magnitude. */
export const LISTENER_LIMITS = {
  headerBytes: 64 * 1024,
  headerCount: 200,
  headersTimeoutMs: 30_000,
  idleTimeoutMs: 65_000,
  handshakeTimeoutMs: 15_000,
  http2StreamsPerConnection: 128,
  certificates: 5_000,
} as const;
