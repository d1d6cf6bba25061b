/** The modules of a version as they were uploaded. */
import type { ModuleType, Version } from '../../model/documents.ts';
import type { CoreContext } from '../context.ts';

const CONTENT_TYPES: Record<ModuleType, string> = {
  esm: 'application/javascript+module',
  commonjs: 'application/javascript',
  wasm: 'application/wasm',
  data: 'application/octet-stream',
  text: 'text/plain',
  json: 'application/json',
  python: 'text/x-python',
  'python-requirement': 'text/x-python-requirement',
};

/** Multipart with a part per module; header `cf-entrypoint` names the one that runs first. */
export async function contentOf(context: CoreContext, version: Version): Promise<Response> {
  const form = new FormData();
  for (const { name, type, hash } of version.modules) {
    const bytes = await context.blobs.get(hash);
    if (!bytes) throw new Error(`blob ${hash} of version ${version.id} is gone`);
    form.append(name, new File([new Uint8Array(bytes)], name, { type: CONTENT_TYPES[type] }));
  }
  return new Response(form, { headers: { 'cf-entrypoint': version.mainModule, etag: `"${version.etag}"` } });
}
