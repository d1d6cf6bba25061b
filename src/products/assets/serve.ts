/**
 * Answers requests from a version's static assets, in the order of Cloudflare's asset worker: base path, `_redirects`, html_handling,
 * not_found_handling, method, canonical path, conditions, ranges, `_headers`. Used by the edge and by the ASSETS binding.
 * Nothing but the paths of the version's manifest can be reached: a path is a key of a map, never a file name.
 */
import type { Readable } from 'node:stream';
import type { AssetConfig, AssetEntry, VersionAssets } from '../../model/documents.ts';
import type { Blobs } from '../../state/blobs.ts';
import { byteRange, matchesNone } from './conditional.ts';
import { AssetFiles } from './files.ts';
import { applyHeaderRules, type HeaderRule, parseHeadersFile } from './headers-file.ts';
import { htmlAnswer, type Manifest } from './html-handling.ts';
import { notFoundAnswer } from './not-found.ts';
import { addBase, decodePath, encodePath, normalizeBasePath, stripBase, urlPathname } from './paths.ts';
import { parseRedirectsFile, type RedirectRules, redirectAnswer } from './redirects-file.ts';
import { MATCH_STEPS } from './rules.ts';
import { assetsOnly, notFoundBeforeWorker } from './worker-first.ts';

export interface AssetRequest {
  method: string;
  /** As in the request's target, still encoded, without query. */
  pathname: string;
  /** '' or "?...". */
  search: string;
  /** By lower-case name; `host` is used by rules with a host. */
  headers: Record<string, string | undefined>;
  /** A Worker gets what is not answered here: then `not_found_handling` waits for it (see worker-first.ts). */
  hasCode?: boolean;
}

export interface AssetResponse {
  status: number;
  headers: [string, string][];
  body: null | Buffer | Readable;
}

export interface AssetServer {
  /** Null: no asset answers. Rejects if a blob is missing or damaged. */
  serve(assets: VersionAssets, request: AssetRequest): Promise<AssetResponse | null>;
}

/** What is made once of a version's configuration. */
interface Site {
  config: AssetConfig;
  base: string;
  redirects: RedirectRules | null;
  headers: HeaderRule[];
  /** Canonical URL pathname -> file, for paths that were asked for before. */
  known: Map<string, AssetEntry>;
}

/** Paths that a site remembers; there are at most three per file, so most sites fit. */
const MAX_KNOWN_PATHS = 4096;
const CACHE_CONTROL = 'public, max-age=0, must-revalidate';

type Found =
  | { kind: 'none' }
  | { kind: 'missing' }
  | { kind: 'redirect'; status: number; location: string }
  | { kind: 'wrong method' }
  | { kind: 'file'; entry: AssetEntry; status: 200 | 404 };

/** `cacheBytes`: memory for the bytes of small files (up to 256 KB each); manifests and large files come on top. */
export function createAssetServer({ blobs, cacheBytes }: { blobs: Blobs; cacheBytes: number }): AssetServer {
  const files = new AssetFiles(blobs, cacheBytes);
  const sites = new WeakMap<VersionAssets, Site>();

  function siteOf(assets: VersionAssets): Site {
    let site = sites.get(assets);
    if (!site) {
      site = createSite(assets.config);
      sites.set(assets, site);
    }
    return site;
  }

  async function serve(assets: VersionAssets, request: AssetRequest): Promise<AssetResponse | null> {
    const site = siteOf(assets);
    const pathname = urlPathname(request.pathname);
    const reads = request.method === 'GET' || request.method === 'HEAD';
    const known = reads && !site.redirects ? site.known.get(pathname) : undefined;
    let found: Found;
    if (known) found = { kind: 'file', entry: known, status: 200 };
    else {
      const loading = files.manifest(assets.manifest);
      found = find(site, loading instanceof Promise ? await loading : loading, pathname, request);
    }
    if (found.kind === 'none') return null;
    const response = await respond(files, found, request);
    if (site.headers.length > 0) {
      const hostname = hostnameOf(request.headers.host);
      applyHeaderRules(site.headers, response.headers, { hostname, pathname }, { steps: MATCH_STEPS });
    }
    return response;
  }

  return { serve };
}

function createSite(config: AssetConfig): Site {
  const { exact, dynamic } = parseRedirectsFile(config._redirects ?? '', config.html_handling).rules;
  return {
    config,
    base: normalizeBasePath(config.base_path),
    redirects: exact.size + dynamic.length > 0 ? { exact, dynamic } : null,
    headers: parseHeadersFile(config._headers ?? '').rules,
    known: new Map(),
  };
}

function find(
  site: Site,
  manifest: Manifest,
  asked: string,
  { method, search, headers, hasCode }: AssetRequest,
): Found {
  const { config, base } = site;
  const nothing: Found = { kind: hasCode && assetsOnly(config, asked) ? 'missing' : 'none' };
  if (stripBase(decodePath(asked), base) === null) return nothing;

  const redirect = site.redirects && redirectAnswer(site.redirects, asked, search, { steps: MATCH_STEPS });
  if (redirect && 'status' in redirect) return { kind: 'redirect', ...redirect };
  const pathname = redirect ? redirect.rewrite : asked;
  const decoded = decodePath(pathname);
  const path = stripBase(decoded, base);
  // What is rewritten belongs to the assets, also if the file is not there: the Worker is not asked.
  if (path === null) return redirect ? { kind: 'missing' } : nothing;

  const answer =
    (redirect ? null : baseRoot(site, manifest, decoded)) ?? htmlAnswer(config.html_handling, path, manifest);
  const beforeWorker = redirect || !hasCode || notFoundBeforeWorker(config, headers['sec-fetch-mode']);
  const instead = !answer && beforeWorker ? notFoundAnswer(config.not_found_handling, path, manifest) : null;
  if (!answer && !instead) return redirect ? { kind: 'missing' } : nothing;
  if (method !== 'GET' && method !== 'HEAD') return { kind: 'wrong method' };

  if (answer && 'redirect' in answer) {
    return { kind: 'redirect', status: 307, location: encodePath(addBase(answer.redirect, base)) + search };
  }
  const canonical = encodePath(decoded);
  if (canonical !== pathname) return { kind: 'redirect', status: 307, location: canonical + search };
  if (instead) return { kind: 'file', ...instead };
  if (!redirect && site.known.size < MAX_KNOWN_PATHS) site.known.set(asked, answer!.entry);
  return { kind: 'file', entry: answer!.entry, status: 200 };
}

/** "/base" and "/base/" are one page: html_handling says which of the two is the right one. */
function baseRoot({ config, base }: Site, manifest: Manifest, decoded: string): { redirect: string } | null {
  if (base === '/' || config.html_handling === 'none' || !manifest.has('/index.html')) return null;
  if (config.html_handling === 'drop-trailing-slash') return decoded === base ? { redirect: '' } : null;
  return decoded === base.slice(0, -1) ? { redirect: '/' } : null;
}

function respond(
  files: AssetFiles,
  found: Exclude<Found, { kind: 'none' }>,
  request: AssetRequest,
): Promise<AssetResponse> | AssetResponse {
  switch (found.kind) {
    case 'missing':
      return empty(404);
    case 'redirect':
      return empty(found.status, ['Location', found.location]);
    case 'wrong method':
      return empty(405, ['Allow', 'GET, HEAD']);
    case 'file':
      return sendFile(files, found.entry, found.status, request);
  }
}

function empty(status: number, ...headers: [string, string][]): AssetResponse {
  return { status, headers: [...headers, ['Content-Length', '0']], body: null };
}

function sendFile(
  files: AssetFiles,
  entry: AssetEntry,
  status: 200 | 404,
  { method, headers: asked }: AssetRequest,
): Promise<AssetResponse> | AssetResponse {
  const etag = `"${entry.etag}"`;
  const headers: [string, string][] = [['ETag', etag]];
  const type = contentType(entry);
  if (type !== null) headers.push(['Content-Type', type]);
  if (asked.authorization === undefined && asked.range === undefined) headers.push(['Cache-Control', CACHE_CONTROL]);

  if (status === 200) {
    const ifNoneMatch = asked['if-none-match'];
    if (ifNoneMatch !== undefined && matchesNone(ifNoneMatch, etag)) return { status: 304, headers, body: null };
    headers.push(['Accept-Ranges', 'bytes']);
    const range = method === 'GET' ? byteRange(asked.range, asked['if-range'], etag, entry.sizeBytes) : null;
    if (range === 'unsatisfiable') return empty(416, ['Content-Range', `bytes */${entry.sizeBytes}`], ['ETag', etag]);
    if (range) {
      headers.push(['Content-Range', `bytes ${range.start}-${range.end}/${entry.sizeBytes}`]);
      headers.push(['Content-Length', String(range.end - range.start + 1)]);
      return files.read(entry, range).then((body) => ({ status: 206, headers, body }));
    }
  }
  headers.push(['Content-Length', String(entry.sizeBytes)]);
  if (method === 'HEAD') return { status, headers, body: null };
  const cached = files.cached(entry);
  if (cached) return { status, headers, body: cached };
  return files.read(entry).then((body) => ({ status, headers, body }));
}

function contentType({ contentType: type }: AssetEntry): string | null {
  if (type === null) return null;
  return type.startsWith('text/') && !type.includes('charset') ? `${type}; charset=utf-8` : type;
}

function hostnameOf(host: string | undefined): string {
  return (host ?? '').replace(/:\d*$/, '').toLowerCase();
}
