/** Headers by path: each rule applies to its path and all below it; the most exact one wins, header by header; null takes one away. */
export const RULES: Record<string, Record<string, string | null>> = {
  '/': {
    'strict-transport-security': 'max-age=31536000; includeSubDomains',
    'x-content-type-options': 'nosniff',
    'x-powered-by': null,
  },
  '/api': { 'cache-control': 'no-store', 'access-control-allow-origin': 'https://app.example' },
  '/api/public': { 'access-control-allow-origin': '*', 'cache-control': 'public, max-age=60' },
  '/static': { 'cache-control': 'public, max-age=31536000, immutable' },
};

/** All headers of a path. One look-up per segment of the path, however many rules there are. */
export function headersFor(path: string): Record<string, string | null> {
  let headers = RULES['/'] ?? {};
  for (let end = path.indexOf('/', 1); ; end = path.indexOf('/', end + 1)) {
    headers = { ...headers, ...RULES[end < 0 ? path : path.slice(0, end)] };
    if (end < 0) return headers;
  }
}
