/** What a client announces before it uploads assets: the paths, with hash and size of each file. All of it is checked here. */
import { createHash } from 'node:crypto';
import { hash as blake3 } from 'blake3-wasm';
import { LIMITS } from '../model/limits.ts';
import { ApiError } from './errors.ts';

/** Path -> what the client calls the file (32 hex digits) and its size in bytes. */
export type ClientManifest = Record<string, { hash: string; size: number }>;

const MAX_PATH_BYTES = 2048;
const HASH = /^[0-9a-f]{32}$/;

/** Checks the body of an upload session. Throws ApiError 10301, 10302. */
export function checkManifest(body: unknown): ClientManifest {
  const given = (body as { manifest?: unknown } | null)?.manifest;
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new ApiError(10301, 'manifest: an object of path -> {hash, size} is expected.');
  }
  const entries = Object.entries(given as Record<string, { hash?: unknown; size?: unknown } | null>);
  if (entries.length > LIMITS.assetFiles) {
    throw new ApiError(10302, `There are ${entries.length} assets; at most ${LIMITS.assetFiles} are allowed.`);
  }
  const sizes = new Map<string, number>();
  for (const [path, file] of entries) {
    const wrong = (why: string) => new ApiError(10301, `manifest: ${JSON.stringify(path.slice(0, 200))} ${why}.`);
    const problem = pathProblem(path);
    if (problem) throw wrong(problem);
    const { hash, size } = file ?? {};
    if (typeof hash !== 'string' || !HASH.test(hash)) throw wrong('must have a hash of 32 lower-case hex digits');
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) throw wrong('must have a size in bytes');
    if (size > LIMITS.assetFileBytes) {
      throw new ApiError(10302, `The asset ${path} has ${size} bytes; at most ${LIMITS.assetFileBytes} are allowed.`);
    }
    if ((sizes.get(hash) ?? size) !== size) throw wrong('has the hash of another path but not its size');
    sizes.set(hash, size);
  }
  return given as ClientManifest;
}

function pathProblem(path: string): string | null {
  if (!path.startsWith('/')) return 'must begin with "/"';
  if (path.length === 1 || path.endsWith('/')) return 'must be the path of a file';
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) return `is longer than ${MAX_PATH_BYTES} bytes`;
  if (path.includes('\0') || !path.isWellFormed()) return 'holds characters that no file name has';
  if (path.split('/').some((segment, index) => index > 0 && (segment === '' || segment === '.' || segment === '..'))) {
    return 'must not have empty, "." or ".." segments';
  }
  return null;
}

/** Each file once: hash -> size and the extensions of its paths (without the dot). */
export function filesOf(manifest: ClientManifest): Map<string, { size: number; extensions: Set<string> }> {
  const files = new Map<string, { size: number; extensions: Set<string> }>();
  for (const [path, { hash, size }] of Object.entries(manifest)) {
    const file = files.get(hash) ?? { size, extensions: new Set() };
    file.extensions.add(extensionOf(path));
    files.set(hash, file);
  }
  return files;
}

function extensionOf(path: string): string {
  const name = path.slice(path.lastIndexOf('/') + 1);
  const dot = name.lastIndexOf('.');
  return dot > 0 ? name.slice(dot + 1) : '';
}

/**
 * Is `hash` what a client would call this content? wrangler: the first 32 hex digits of BLAKE3 over base64 text and extension.
 * Cloudflare's guide to direct uploads shows SHA-256 instead, over the same text or over the bytes; both are taken too.
 */
export function isHashOf(hash: string, base64: string, content: Uint8Array, extensions: Iterable<string>): boolean {
  for (const extension of extensions) {
    const text = base64 + extension;
    if (blake3(text).toString('hex').startsWith(hash)) return true;
    if (createHash('sha256').update(text).digest('hex').startsWith(hash)) return true;
  }
  return createHash('sha256').update(content).digest('hex').startsWith(hash);
}
