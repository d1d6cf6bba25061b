/** A static site whose files are in KV. */

import manifest from '__STATIC_CONTENT_MANIFEST';
import { getAssetFromKV, mapRequestToAsset, NotFoundError } from '@cloudflare/kv-asset-handler';

interface Env {
  __STATIC_CONTENT: unknown;
}
interface Context {
  waitUntil(promise: Promise<unknown>): void;
}

/** "/posts/first" is the file "posts/first.html". */
function toFile(request: Request): Request {
  const url = new URL(request.url);
  if (!/\.\w+$|\/$/.test(url.pathname)) return new Request(`${url.origin}${url.pathname}.html`, request);
  return mapRequestToAsset(request);
}

function notFoundPage(request: Request): Request {
  return new Request(`${new URL(request.url).origin}/404.html`, request);
}

export default {
  async fetch(request: Request, env: Env, ctx: Context): Promise<Response> {
    const began = Date.now();
    const event = { request, waitUntil: (promise: Promise<unknown>) => ctx.waitUntil(promise) };
    const options = { ASSET_NAMESPACE: env.__STATIC_CONTENT, ASSET_MANIFEST: JSON.parse(manifest as string) };
    try {
      const found = await getAssetFromKV(event, { ...options, mapRequestToAsset: toFile });
      const response = new Response(found.body, found);
      response.headers.set('server-timing', `kv;dur=${Date.now() - began}`);
      return response;
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
      const page = await getAssetFromKV(event, { ...options, mapRequestToAsset: notFoundPage });
      return new Response(page.body, { status: 404, headers: page.headers });
    }
  },
};
