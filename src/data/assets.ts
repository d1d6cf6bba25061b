/** The ASSETS binding: `env.ASSETS.fetch()` of a Worker, answered from the static assets of its own version. */
import { createServer, type Server } from 'node:http';
import type { Attach } from '../model/messages.ts';
import { createAssetsHandler } from '../products/assets/fetch-binding.ts';
import { createAssetServer } from '../products/assets/serve.ts';
import type { Blobs } from '../state/blobs.ts';

/** Bytes of small files that the data process keeps in memory, for all Workers. */
const CACHE_BYTES = 32 * 1024 * 1024;

/** Makes the server of `assets.sock` of an isolate process that has assets; the caller lets it listen. */
export function createAssetBinding(blobs: Blobs): (attach: Attach) => Server {
  const answer = createAssetsHandler(createAssetServer({ blobs, cacheBytes: CACHE_BYTES }));
  return ({ assets, script, versionId }) => {
    if (!assets) throw new Error(`version ${versionId} of ${script} has no assets`);
    return createServer({ requireHostHeader: false, keepAliveTimeout: 0 }, (req, res) => {
      // Otherwise the Worker would see Node's Connection and Keep-Alive among the headers of the asset.
      res.removeHeader('connection');
      answer(req, res, assets);
    });
  };
}
