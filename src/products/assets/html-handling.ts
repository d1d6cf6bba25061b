/**
 * html_handling: which file of the manifest answers a path, and when the client is sent to another path instead. Each mode is a
 * list of steps for a path, tried in order; the steps are Cloudflare's, also where they are surprising.
 * Source: https://developers.cloudflare.com/workers/static-assets/routing/advanced/html-handling/ and its asset worker.
 */
import type { AssetConfig, AssetEntry } from '../../model/documents.ts';

export type HtmlHandling = AssetConfig['html_handling'];

/** Decoded path -> file. Only what is in here can ever be answered. */
export type Manifest = ReadonlyMap<string, AssetEntry>;

/** Serve `entry`, or send the client to the decoded path `redirect` (307). */
export type HtmlAnswer = { entry: AssetEntry } | { redirect: string };

/** `file` alone: serve it if it exists. With `to`: redirect there if nothing has that very path and it would serve `file`. */
interface Step {
  file: string;
  to?: string;
}

/** The answer for a decoded path, null if no file belongs to it. */
export function htmlAnswer(mode: HtmlHandling, path: string, manifest: Manifest): HtmlAnswer | null {
  for (const { file, to } of steps(mode, path)) {
    const entry = manifest.get(file);
    if (!entry) continue;
    if (to === undefined) return { entry };
    // Files are compared by content, so that two paths with the same bytes count as the same page.
    if (!manifest.has(to) && served(mode, to, manifest)?.etag === entry.etag) return { redirect: to };
  }
  return null;
}

function served(mode: HtmlHandling, path: string, manifest: Manifest): AssetEntry | undefined {
  for (const { file, to } of steps(mode, path)) {
    const entry = to === undefined ? manifest.get(file) : undefined;
    if (entry) return entry;
  }
  return undefined;
}

function steps(mode: HtmlHandling, path: string): Step[] {
  switch (mode) {
    case 'auto-trailing-slash':
      return [
        ...autoSpecial(path),
        { file: path },
        { file: `${path}.html` },
        { file: `${path}/index.html`, to: `${path}/` },
      ];
    case 'force-trailing-slash':
      return [
        ...forceSpecial(path),
        { file: path },
        { file: `${path}.html`, to: `${path}/` },
        { file: `${path}/index.html`, to: `${path}/` },
      ];
    case 'drop-trailing-slash':
      return [...dropSpecial(path), { file: path }, { file: `${path}.html` }, { file: `${path}/index.html` }];
    case 'none':
      return [{ file: path }];
  }
}

/** "/foo/index.html" lives at "/foo/", "/foo.html" at "/foo". */
function autoSpecial(path: string): Step[] {
  if (path.endsWith('/index')) {
    const folder = path.slice(0, -'/index'.length);
    return [{ file: path }, { file: `${path}.html`, to: `${folder}/` }, { file: `${folder}.html`, to: folder }];
  }
  if (path.endsWith('/index.html')) {
    const folder = path.slice(0, -'/index.html'.length);
    return [
      { file: path, to: `${folder}/` },
      { file: `${folder}.html`, to: folder },
    ];
  }
  if (path.endsWith('/')) {
    const name = path.slice(0, -1);
    return [{ file: `${path}index.html` }, { file: `${name}.html`, to: name }];
  }
  if (path.endsWith('.html')) {
    const name = path.slice(0, -'.html'.length);
    return [
      { file: path, to: name },
      { file: `${name}/index.html`, to: `${name}/` },
    ];
  }
  return [];
}

/** Both "/foo/index.html" and "/foo.html" live at "/foo/". */
function forceSpecial(path: string): Step[] {
  if (path.endsWith('/index')) {
    const folder = path.slice(0, -'index'.length);
    return [{ file: path }, { file: `${path}.html`, to: folder }, { file: `${folder.slice(0, -1)}.html`, to: folder }];
  }
  if (path.endsWith('/index.html')) {
    const folder = path.slice(0, -'index.html'.length);
    return [
      { file: path, to: folder },
      { file: `${folder.slice(0, -1)}.html`, to: folder },
    ];
  }
  if (path.endsWith('/')) return [{ file: `${path}index.html` }, { file: `${path.slice(0, -1)}.html` }];
  if (path.endsWith('.html')) {
    const name = path.slice(0, -'.html'.length);
    // Where "/foo.html" and "/foo/index.html" both exist, "/foo/" is the second and the first stays where it is.
    return [{ file: path, to: `${name}/` }, { file: path }, { file: `${name}/index.html`, to: `${name}/` }];
  }
  return [];
}

/** Both "/foo/index.html" and "/foo.html" live at "/foo"; only the root keeps its slash. */
function dropSpecial(path: string): Step[] {
  if (path === '/index') return [{ file: path }, { file: '/index.html', to: '/' }];
  if (path === '/index.html') return [{ file: path, to: '/' }];
  if (path === '/') return [{ file: '/index.html' }];
  if (path.endsWith('/index')) {
    const folder = path.slice(0, -'/index'.length);
    return [{ file: path }, { file: `${folder}.html`, to: folder }, { file: `${path}.html`, to: folder }];
  }
  if (path.endsWith('/index.html')) {
    const folder = path.slice(0, -'/index.html'.length);
    // Where both exist, "/foo" is "/foo.html" and the other stays where it is.
    return [{ file: path, to: folder }, { file: path }, { file: `${folder}.html`, to: folder }];
  }
  if (path.endsWith('/')) {
    const name = path.slice(0, -1);
    return [
      { file: `${name}.html`, to: name },
      { file: `${name}/index.html`, to: name },
    ];
  }
  if (path.endsWith('.html')) {
    const name = path.slice(0, -'.html'.length);
    return [
      { file: path, to: name },
      { file: `${name}/index.html`, to: name },
    ];
  }
  return [];
}
