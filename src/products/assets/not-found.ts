/**
 * not_found_handling: what answers when no file belongs to a path.
 * Source: https://developers.cloudflare.com/workers/static-assets/routing/static-site-generation/#custom-404-pages and
 * https://developers.cloudflare.com/workers/static-assets/routing/single-page-application/
 */
import type { AssetConfig, AssetEntry } from '../../model/documents.ts';
import type { Manifest } from './html-handling.ts';

/** Folders above a path that are searched for a 404.html; deeper paths get the ones nearest to them only. */
const MAX_FOLDERS = 256;

/**
 * single-page-application: "/index.html" with 200. 404-page: the nearest "404.html" up the tree with 404. Null: nothing answers.
 * `path` is decoded.
 */
export function notFoundAnswer(
  mode: AssetConfig['not_found_handling'],
  path: string,
  manifest: Manifest,
): { entry: AssetEntry; status: 200 | 404 } | null {
  if (mode === 'single-page-application') {
    const entry = manifest.get('/index.html');
    return entry ? { entry, status: 200 } : null;
  }
  if (mode === '404-page') {
    let folder = path;
    for (let depth = 0; depth < MAX_FOLDERS && folder !== ''; depth++) {
      folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/')));
      const entry = manifest.get(`${folder}/404.html`);
      if (entry) return { entry, status: 404 };
    }
    const entry = manifest.get('/404.html');
    if (entry) return { entry, status: 404 };
  }
  return null;
}
