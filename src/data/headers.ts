/**
 * Headers on the way out of a Worker and back: pure functions over raw header lists ([name, value, name, value ...], as Node
 * gives them), so that order, case and repeated headers survive.
 */

/** Meant for one connection only (RFC 9110, section 7.6.1), and so never passed on. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** CDN-Loop token of this edge (RFC 8586). */
const CDN_ID = 'selvedge';

/** More hops through this edge than this is a loop. */
export const MAX_HOPS = 16;

/**
 * What the origin gets. Removed: hop-by-hop headers, Host (the URL decides), Expect (the body is on its way already), and
 * what only an edge may say: cf-*, x-forwarded-*, x-real-ip, true-client-ip, selvedge-*. Added: CF-Worker, CDN-Loop.
 */
export function toOrigin(raw: readonly string[], cfWorker: string): { headers: string[]; hops: number } {
  const named = connectionNamed(raw);
  const headers: string[] = [];
  const loops: string[] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase();
    if (name === 'cdn-loop') loops.push(raw[i + 1]!);
    else if (!HOP_BY_HOP.has(name) && !named.has(name) && !isEdgeOnly(name)) headers.push(raw[i]!, raw[i + 1]!);
  }
  const { value, hops } = nextLoop(loops);
  headers.push('CF-Worker', cfWorker, 'CDN-Loop', value);
  return { headers, hops };
}

/** What the Worker gets of the origin's answer. `cf-*` of the origin stay: Workers read them, nobody trusts them. */
export function toWorker(raw: readonly string[]): string[] {
  const named = connectionNamed(raw);
  const headers: string[] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase();
    if (!HOP_BY_HOP.has(name) && !named.has(name)) headers.push(raw[i]!, raw[i + 1]!);
  }
  return headers;
}

/** The last value of a header in a raw list, or undefined. */
export function headerValue(raw: readonly string[], name: string): string | undefined {
  for (let i = raw.length - 2; i >= 0; i -= 2) if (raw[i]!.toLowerCase() === name) return raw[i + 1];
  return undefined;
}

function isEdgeOnly(name: string): boolean {
  return (
    name === 'host' ||
    name === 'expect' ||
    name === 'x-real-ip' ||
    name === 'true-client-ip' ||
    name.startsWith('cf-') ||
    name.startsWith('x-forwarded-') ||
    name.startsWith('selvedge-')
  );
}

/** Names that a Connection header declares to be hop-by-hop. Content-Length may not be made to vanish that way. */
function connectionNamed(raw: readonly string[]): Set<string> {
  const names = new Set<string>();
  for (let i = 0; i + 1 < raw.length; i += 2) {
    if (raw[i]!.toLowerCase() !== 'connection') continue;
    for (const name of raw[i + 1]!.toLowerCase().split(',')) names.add(name.trim());
  }
  names.delete('content-length');
  return names;
}

/** Adds this hop: `selvedge; loops=3` among what other CDNs said. */
function nextLoop(values: readonly string[]): { value: string; hops: number } {
  let hops = 1;
  const others: string[] = [];
  for (const entry of values.join(',').split(',')) {
    const [id = '', ...parameters] = entry.split(';').map((part) => part.trim());
    if (id.toLowerCase() === CDN_ID) {
      const loops = parameters.find((parameter) => /^loops=\d{1,4}$/i.test(parameter));
      hops += loops ? Math.max(1, Number(loops.slice('loops='.length))) : 1;
    } else if (id !== '') {
      others.push(entry.trim());
    }
  }
  return { value: [...others, `${CDN_ID}; loops=${hops}`].join(', '), hops };
}
