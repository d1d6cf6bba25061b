/** The ASSETS binding: `env.ASSETS.fetch(request)` of a Worker arrives here as HTTP, on a socket that belongs to one version. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream';
import type { VersionAssets } from '../../model/documents.ts';
import { log, reason } from '../../model/log.ts';
import type { AssetRequest, AssetResponse, AssetServer } from './serve.ts';

/**
 * Answers requests with the version's assets: 404 where none matches. The target may be a path or a whole URL; its host does not
 * matter but for rules with a host.
 */
export function createAssetsHandler(
  server: AssetServer,
): (req: IncomingMessage, res: ServerResponse, assets: VersionAssets) => void {
  return (req, res, assets) => {
    // The body of a request never matters here; unread, it would hold the connection.
    req.resume();
    const request = toAssetRequest(req);
    if (!request) return send(res, { status: 400, headers: [['Content-Length', '0']], body: null });
    server.serve(assets, request).then(
      (answer) => send(res, answer ?? { status: 404, headers: [['Content-Length', '0']], body: null }),
      (error: unknown) => {
        log('error', 'an asset could not be served', { pathname: request.pathname, error: reason(error) });
        send(res, { status: 500, headers: [['Content-Length', '0']], body: null });
      },
    );
  };
}

function toAssetRequest({ method, url, headers }: IncomingMessage): AssetRequest | null {
  const target = url ?? '/';
  const one: Record<string, string | undefined> = {};
  for (const [name, value] of Object.entries(headers)) one[name] = Array.isArray(value) ? value.join(', ') : value;
  if (!target.startsWith('/')) {
    if (!URL.canParse(target)) return null;
    const absolute = new URL(target);
    one.host = absolute.host;
    return { method: method ?? 'GET', pathname: absolute.pathname, search: absolute.search, headers: one };
  }
  const query = target.indexOf('?');
  const pathname = query < 0 ? target : target.slice(0, query);
  return { method: method ?? 'GET', pathname, search: query < 0 ? '' : target.slice(query), headers: one };
}

function send(res: ServerResponse, { status, headers, body }: AssetResponse): void {
  res.writeHead(status, headers.flat());
  if (body === null || body instanceof Buffer) {
    res.end(body);
    return;
  }
  // A Worker that stops reading ends the file's stream too; that is no error.
  pipeline(body, res, (error) => {
    if (error && !res.destroyed) log('warn', 'an asset was cut off', { error: reason(error) });
  });
}
