/**
 * The Cache API (`caches.default`, `caches.open()`) as long as there is no store behind it: `match` never hits, `put` accepts and
 * forgets, `delete` finds nothing. Workers run unchanged, as on workers.dev and in previews, where Cloudflare's cache operations
 * have no effect either (https://developers.cloudflare.com/workers/runtime-apis/cache/).
 */
import { createServer, type Server } from 'node:http';

/** The server of `cache.sock`; the caller lets it listen. Protocol: GET with only-if-cached, PUT of a response, PURGE. */
export function createCache(): Server {
  return createServer({ requireHostHeader: false, keepAliveTimeout: 0, requestTimeout: 0 }, (req, res) => {
    if (req.method === 'PUT') {
      req.on('end', () => res.writeHead(204).end());
      req.on('error', () => res.destroy());
      req.resume();
      return;
    }
    req.resume();
    if (req.method === 'PURGE') res.writeHead(404).end();
    // 504: what RFC 9111, section 5.2.1.7, answers to only-if-cached when nothing is stored.
    else res.writeHead(504, { 'CF-Cache-Status': 'MISS' }).end();
  });
}
