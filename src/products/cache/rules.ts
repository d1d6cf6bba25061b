/**
 * What the Cache API keeps, and for how long
 * (https://developers.cloudflare.com/workers/runtime-apis/cache/#headers): a shared cache's rules, and Cloudflare's times where a response
 * says nothing. The runtime itself refuses 206, `Vary: *` and methods other than GET; of other `Vary` headers the Cache API takes no notice.
 */
import CachePolicy from 'http-cache-semantics';

/** Names and values. */
export type Headers = [name: string, value: string][];

/** Status -> seconds (https://developers.cloudflare.com/cache/how-to/configure-cache-status-code/#edge-ttl). */
const DEFAULT_TTL: Record<number, number> = { 200: 7200, 301: 7200, 302: 1200, 303: 1200, 404: 180, 410: 180 };
const MAX_TTL = 31_536_000;
const PRIVATE_COOKIE = /\bprivate\s*=\s*"?set-cookie"?/i;

/** What is kept of a response's headers, and for how many seconds; null if it is not kept at all. */
export function keepable(url: string, status: number, headers: Headers): { headers: Headers; ttl: number } | null {
  if (status < 200 || status === 206 || status === 304) return null;
  const control = headerOf(headers, 'cache-control');
  let kept = headers;
  if (headerOf(headers, 'set-cookie') !== undefined) {
    // Whose cookie it is must not be known to the next visitor.
    if (!PRIVATE_COOKIE.test(control ?? '')) return null;
    kept = headers.filter(([name]) => name.toLowerCase() !== 'set-cookie');
  }
  const plain: Record<string, string> = {};
  for (const [name, value] of kept) {
    const before = plain[name.toLowerCase()];
    plain[name.toLowerCase()] = before === undefined ? value : `${before}, ${value}`;
  }
  if (plain['cache-control']) plain['cache-control'] = plain['cache-control'].replace(PRIVATE_COOKIE, '').toLowerCase();
  // As if it were a 200: here only what the headers say counts. `Vary` is not looked at.
  delete plain.vary;
  const policy = new CachePolicy(
    { url, method: 'GET', headers: {} },
    { status: 200, headers: plain },
    { shared: true },
  );
  if (!policy.storable()) return null;
  const isExplicit = /\b(?:s-maxage|max-age|no-cache)\b/i.test(control ?? '') || plain.expires !== undefined;
  const ttl = isExplicit ? policy.maxAge() : (DEFAULT_TTL[status] ?? 0);
  return ttl > 0 ? { headers: kept, ttl: Math.min(ttl, MAX_TTL) } : null;
}

/** The first value of a header. */
export function headerOf(headers: Headers, name: string): string | undefined {
  return headers.find(([each]) => each.toLowerCase() === name)?.[1];
}
