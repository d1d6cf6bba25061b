/** Checks `metadata.assets.config` of an upload and makes the AssetConfig that a version keeps. */
import { z } from 'zod';
import type { AssetConfig } from '../../model/documents.ts';
import { parseHeadersFile } from './headers-file.ts';
import { normalizeBasePath } from './paths.ts';
import { parseRedirectsFile } from './redirects-file.ts';
import { checkWorkerFirst, navigationPrefersAssets } from './worker-first.ts';

/** The version's document holds both files; 2,100 redirects and 100 header rules of usual length are a tenth of this. */
const MAX_FILE_BYTES = 200 * 1024;

const RuleFile = z.string().refine((text) => Buffer.byteLength(text) <= MAX_FILE_BYTES, {
  message: `the file is larger than ${MAX_FILE_BYTES} bytes`,
});
const Config = z.object({
  html_handling: z
    .enum(['auto-trailing-slash', 'force-trailing-slash', 'drop-trailing-slash', 'none'])
    .default('auto-trailing-slash'),
  not_found_handling: z.enum(['none', '404-page', 'single-page-application']).default('none'),
  run_worker_first: z.union([z.boolean(), z.array(z.string())]).default(false),
  /** An older name of `run_worker_first: true`. */
  serve_directly: z.boolean().optional(),
  base_path: z.string().max(1024).optional(),
  _headers: RuleFile.optional(),
  _redirects: RuleFile.optional(),
});

/**
 * The configuration with its defaults, and a sentence for each line of `_headers` and `_redirects` that has no effect. Throws an
 * Error that names the first wrong field ("assets.html_handling: ...").
 */
export function parseAssetConfig(
  raw: unknown,
  version: { compatibilityDate: string; compatibilityFlags: readonly string[] },
): { config: AssetConfig; warnings: string[] } {
  const parsed = Config.safeParse(raw ?? {});
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new Error(`${['assets', ...issue.path].join('.')}: ${issue.message}`);
  }
  const { serve_directly, run_worker_first, base_path, _headers, _redirects, ...modes } = parsed.data;
  if (Array.isArray(run_worker_first)) checkWorkerFirst(run_worker_first);
  const config: AssetConfig = {
    ...modes,
    run_worker_first: serve_directly === false ? true : run_worker_first,
    base_path: normalizeBasePath(base_path),
    navigation_prefers_assets: navigationPrefersAssets(version.compatibilityDate, version.compatibilityFlags),
    ...(_headers !== undefined && { _headers }),
    ...(_redirects !== undefined && { _redirects }),
  };
  const ignored = [
    ...parseHeadersFile(_headers ?? '').ignored.map((line) => ({ file: '_headers', ...line })),
    ...parseRedirectsFile(_redirects ?? '', config.html_handling).ignored.map((line) => ({
      file: '_redirects',
      ...line,
    })),
  ];
  return { config, warnings: ignored.map(({ file, lineNumber, message }) => `${file} line ${lineNumber}: ${message}`) };
}
