/**
 * Which headers cross the edge. Eyeball to Worker: everything but what belongs to the hop (RFC 9110, 7.6.1) and what the edge says itself;
 * a client that sends `CF-...`, `X-Forwarded-...` or our internal names is not believed. Serialised anew, never copied raw.
 */

/** A request's head as it is passed on, and what the stages of the request's way need of it. */
export interface Head {
  method: string;
  /** Path and query, origin-form. */
  target: string;
  /** Path without query. */
  path: string;
  /** Lower case, without port and trailing dot; '' if there is none. */
  host: string;
  /** Host header as the Worker sees it. */
  authority: string;
  /** Header lines for the Worker, each with its line end; without framing headers. */
  lines: string;
  /** Bytes of the body, null if it comes in chunks, 0 if there is none. */
  bodyLength: number | null;
  /** What the client accepts; '' if it does not say. */
  accept: string;
  /** Cloudflare-Workers-Version-Key and -Overrides. */
  versionKey: string | undefined;
  versionOverrides: string | undefined;
  /** Headers in turn as the Worker sees them; for assets, WebSockets and tails. */
  pairs(): [string, string][];
}

/** The request cannot be passed on; `message` is for its sender. */
export class BadRequest extends Error {
  override name = 'BadRequest';
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Dropped: hop-by-hop headers, and those that the edge sets itself. Prefixes are in `isOurs`. */
const DROPPED = new Set([
  'connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization', 'te', 'trailer',
  'transfer-encoding', 'upgrade', 'http2-settings', 'expect', 'content-length', 'host', 'x-real-ip', 'true-client-ip',
  'forwarded',
]); // biome-ignore format: a table

function isOurs(name: string): boolean {
  return name.startsWith('cf-') || name.startsWith('x-forwarded-') || name.startsWith('selvedge-');
}

/**
 * Reads a request's raw headers (names and values in turn; HTTP/2's pseudo headers too). Throws BadRequest.
 * `url` is Node's: origin-form, absolute-form or `*`.
 */
export function readHead(method: string, url: string, raw: readonly string[], scheme: 'http' | 'https'): Head {
  let authority = '';
  let hosts = 0;
  let lengths = 0;
  let lines = '';
  let bodyLength: number | null = 0;
  let accept = '';
  let cookie = '';
  let versionKey: string | undefined;
  let versionOverrides: string | undefined;
  let named: Set<string> | null = null;
  for (let i = 0; i < raw.length; i += 2) {
    const original = raw[i]!;
    const value = raw[i + 1]!;
    const name = original.toLowerCase();
    switch (name) {
      case ':authority':
        authority = value;
        continue;
      case ':scheme':
        // What a path looks like depends on it.
        if (value !== 'https' && value !== 'http') throw new BadRequest(400, 'The scheme is not HTTP.');
        continue;
      case 'host':
        // RFC 9112, 3.2: one Host field, no more; HTTP/2 may have it beside :authority.
        if (hosts++ > 0 || (authority !== '' && authority !== value))
          throw new BadRequest(400, 'The request names two hosts.');
        authority = value;
        continue;
      case 'content-length':
        // Node's parsers refuse others over HTTP/1.1; nothing depends on that here.
        if (!/^\d{1,15}$/.test(value) || lengths++ > 0) throw new BadRequest(400, 'The Content-Length is no number.');
        if (bodyLength !== null) bodyLength = Number(value);
        continue;
      case 'transfer-encoding':
        // Other codings, and chunked beside them, are read differently by different servers (RFC 9112, 6.1).
        if (value.toLowerCase() !== 'chunked' || bodyLength === null)
          throw new BadRequest(501, 'The only transfer coding here is chunked, once.');
        bodyLength = null;
        continue;
      case 'connection':
        if (value === 'keep-alive' || value === 'close') continue;
        named ??= new Set();
        for (const option of value.toLowerCase().split(/[\s,]+/)) named.add(option);
        continue;
      case 'cookie':
        // HTTP/2 may send crumbs (RFC 9113, 8.2.3).
        cookie = cookie ? `${cookie}; ${value}` : value;
        continue;
      case 'accept':
        accept = value;
        break;
      case 'cloudflare-workers-version-key':
        versionKey = value;
        break;
      case 'cloudflare-workers-version-overrides':
        versionOverrides = value;
        break;
    }
    if (name.charCodeAt(0) === 58 || DROPPED.has(name) || isOurs(name)) continue;
    lines += `${original}: ${value}\r\n`;
  }
  if (cookie) lines += `Cookie: ${cookie}\r\n`;
  if (named) lines = withoutNamed(lines, named);
  let target = url;
  if (target.charCodeAt(0) !== 47) {
    if (target === '*') throw new BadRequest(400, 'OPTIONS * is for a server; ask for a path.');
    const absolute = /^https?:\/\/([^/?#@]+)([/?].*)?$/i.exec(target);
    if (!absolute) throw new BadRequest(400, 'The request target is not a path.');
    // RFC 9112, 3.2: Host has to be the same; servers that look at one and servers that look at the other would differ.
    if (hostOf(absolute[1]!) !== hostOf(authority))
      throw new BadRequest(400, 'The target names another host than Host.');
    authority = absolute[1]!;
    target = absolute[2] ?? '/';
    if (target.startsWith('?')) target = `/${target}`;
  }
  if (target.includes('#')) throw new BadRequest(400, 'The request target has a fragment.');
  const host = hostOf(authority);
  if (host === '') throw new BadRequest(400, 'The request names no host.');
  const query = target.indexOf('?');
  const path = query < 0 ? target : target.slice(0, query);
  return {
    method,
    target,
    path,
    host,
    authority,
    lines: `Host: ${stripDefaultPort(authority, scheme)}\r\n${lines}`,
    bodyLength,
    accept,
    versionKey,
    versionOverrides,
    pairs() {
      const rows = this.lines.split('\r\n');
      rows.pop();
      return rows.map((row) => {
        const colon = row.indexOf(': ');
        return [row.slice(0, colon), row.slice(colon + 2)];
      });
    },
  };
}

function withoutNamed(lines: string, named: Set<string>): string {
  return lines
    .split('\r\n')
    .filter((line) => line === '' || !named.has(line.slice(0, line.indexOf(':')).toLowerCase()))
    .join('\r\n');
}

/** "Shop.Example.com.:8080" -> "shop.example.com"; '' for what is no host. */
export function hostOf(authority: string): string {
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+?)\.?(?::(\d{1,5}))?$/.exec(authority);
  return match && Number(match[2] ?? 0) <= 65_535 ? match[1]!.toLowerCase() : '';
}

/** URLs leave out the port that their scheme has anyway. */
function stripDefaultPort(authority: string, scheme: 'http' | 'https'): string {
  const port = scheme === 'https' ? ':443' : ':80';
  return authority.endsWith(port) ? authority.slice(0, -port.length) : authority;
}
