/** The ASSETS binding: `env.ASSETS.fetch()` of a Worker, answered from the static assets of its own version. */
import { createServer, type Server } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { log, reason } from '../model/log.ts';
import type { Attach } from '../model/messages.ts';
import { createAssetServer } from '../products/assets/serve.ts';
import type { Blobs } from '../state/blobs.ts';

/** Bytes of small files that the data process keeps in memory, for all Workers. */
const CACHE_BYTES = 32 * 1024 * 1024;

/** Makes the server of `assets.sock` of an isolate process that has assets; the caller lets it listen. */
export function createAssetBinding(blobs: Blobs): (attach: Attach) => Server {
  const assetServer = createAssetServer({ blobs, cacheBytes: CACHE_BYTES });
  return ({ assets, script, versionId }) => {
    if (!assets) throw new Error(`version ${versionId} of ${script} has no assets`);
    const server = createServer({ requireHostHeader: false, keepAliveTimeout: 0 }, async (req, res) => {
      req.resume();
      const url = URL.parse(req.url ?? '/', 'http://assets.local');
      if (!url) return void res.writeHead(400).end();
      try {
        const { method = 'GET' } = req;
        const headers = Object.fromEntries(Object.entries(req.headers).map(([name, value]) => [name, String(value)]));
        // The Worker asks: there is no code to go on to, so what is missing is answered as the configuration says.
        const request = { method, pathname: url.pathname, search: url.search, headers, hasCode: false };
        const answer = await assetServer.serve(assets, request);
        res.removeHeader('connection');
        if (!answer) return void res.writeHead(404).end();
        res.writeHead(answer.status, answer.headers.flat());
        if (answer.body instanceof Readable) await pipeline(answer.body, res);
        else res.end(answer.body ?? undefined);
      } catch (error) {
        // A Worker that stops reading is no failure.
        if (!res.destroyed) log('error', 'an asset could not be served', { script, versionId, error: reason(error) });
        if (res.headersSent) res.destroy();
        else res.writeHead(500).end();
      }
    });
    return server;
  };
}
