/**
 * The three forms of a path: as it stands in a URL (`pathname`), as it stands in the manifest (decoded, single slashes), and
 * below a base path. Every asset has one canonical URL, the encoding of its manifest path; others are redirected to it.
 * Source: https://developers.cloudflare.com/workers/static-assets/routing/advanced/html-handling/
 */

/** Pathnames made only of these, without dot segments, are what the WHATWG URL parser would leave as they are. */
const PLAIN = /^\/[\w\-~!$&'()*+,;=:@%./]*$/;
const DOT_SEGMENT = /\/(?:\.|%2e)/i;

/**
 * The pathname as the WHATWG URL parser writes it: dot segments resolved (also "%2e%2e"), backslashes as slashes, anything that
 * may not stand in a URL percent-encoded. Always begins with a slash.
 */
export function urlPathname(raw: string): string {
  if (PLAIN.test(raw) && !DOT_SEGMENT.test(raw)) return raw;
  const path = raw.split(/[?#]/, 1)[0]!;
  return new URL(`http://host${path.startsWith('/') ? '' : '/'}${path}`).pathname;
}

/**
 * URL pathname -> manifest path. Each segment is decoded once ("%255B" becomes "%5B"); a segment that does not decode stays.
 * Slashes, also those that were encoded, are joined: a path can never become "//host".
 */
export function decodePath(pathname: string): string {
  const decoded = pathname.includes('%') ? pathname.split('/').map(decodeSegment).join('/') : pathname;
  return decoded.includes('//') ? decoded.replace(/\/+/g, '/') : decoded;
}

/** Manifest path -> canonical URL pathname: each segment by encodeURIComponent. */
export function encodePath(path: string): string {
  return /^[\w\-.~!*'()/]*$/.test(path) ? path : path.split('/').map(encodeSegment).join('/');
}

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment; // "%zz" is a name like any other
  }
}

function encodeSegment(segment: string): string {
  return encodeURIComponent(segment.toWellFormed());
}

/**
 * The canonical form "/a/b/" of a `base_path` ("/" if there is none). Throws an Error that says what is wrong with the value.
 * Source: `assets.base_path` in wrangler's configuration schema.
 */
export function normalizeBasePath(value: string | undefined): string {
  if (value === undefined || value === '/') return '/';
  const wrong = (why: string) => new Error(`assets.base_path ${JSON.stringify(value.slice(0, 100))} ${why}`);
  if (value === '') throw wrong('must not be empty');
  if (value.startsWith('//') || /^[a-z][a-z\d+.-]*:/i.test(value)) throw wrong('must be a path, not a URL');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\\?#%\u0000-\u001f\u007f]/.test(value))
    throw wrong('must not hold a backslash, "?", "#", "%" or control characters');
  const kept: string[] = [];
  for (const segment of value.split('/')) {
    if (segment === '..') kept.pop();
    else if (segment !== '' && segment !== '.') kept.push(segment);
  }
  return kept.length === 0 ? '/' : `/${kept.join('/')}/`;
}

/** The path below the base, or null if it is not below it. "/base" and "/base/" are both "/". */
export function stripBase(path: string, base: string): string | null {
  if (base === '/') return path;
  if (path === base.slice(0, -1)) return '/';
  return path.startsWith(base) ? path.slice(base.length - 1) : null;
}

/** The opposite of `stripBase`; '' is the base without its slash. */
export function addBase(path: string, base: string): string {
  return base === '/' ? path : base.slice(0, -1) + path;
}
