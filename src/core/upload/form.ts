/** The multipart body of an upload: a `metadata` part and a part per module. */
import { gzipSync } from 'node:zlib';
import type { ModuleType } from '../../model/documents.ts';
import { LIMITS } from '../../model/limits.ts';
import { readBody } from '../body.ts';
import { ApiError } from '../errors.ts';

export interface UploadedModule {
  name: string;
  type: ModuleType;
  bytes: Buffer;
}

export interface UploadForm {
  metadata: unknown;
  modules: UploadedModule[];
}

const TYPES: Record<string, ModuleType> = {
  'application/javascript+module': 'esm',
  'text/javascript+module': 'esm',
  'application/javascript': 'commonjs',
  'text/javascript': 'commonjs',
  'application/wasm': 'wasm',
  'application/octet-stream': 'data',
  'text/plain': 'text',
  'application/json': 'json',
  'text/x-python': 'python',
  'text/x-python-requirement': 'python-requirement',
};

/** Room for the source map and for the parts' own headers beside the modules. */
export const MAX_UPLOAD_BYTES = 2 * LIMITS.scriptBytes;

/** Reads and bounds the body. Throws ApiError 10006 (not readable), 10003 and 10027 (too large). */
export async function readUpload(request: Request): Promise<UploadForm> {
  const contentType = request.headers.get('content-type') ?? '';
  if (!contentType.startsWith('multipart/form-data'))
    throw new ApiError(10006, 'An upload is multipart/form-data with a part "metadata".');
  const body = await readBody(request, MAX_UPLOAD_BYTES);
  let form: FormData;
  try {
    form = await new Response(body, { headers: { 'content-type': contentType } }).formData();
  } catch {
    throw new ApiError(10006, 'The multipart body cannot be read.');
  }
  const modules: UploadedModule[] = [];
  let metadata: unknown;
  for (const [name, part] of form) {
    if (name === 'metadata') {
      metadata = parseJson(typeof part === 'string' ? part : await part.text());
      continue;
    }
    if (typeof part === 'string') throw new ApiError(10006, `The part ${JSON.stringify(name)} is no file.`);
    const mime = part.type.split(';')[0]!.trim();
    // Source maps help wrangler; the runtime does not need them.
    if (mime === 'application/source-map') continue;
    const type = TYPES[mime];
    if (!type)
      throw new ApiError(
        10006,
        `The module ${JSON.stringify(name)} has the unknown content type ${JSON.stringify(part.type)}.`,
      );
    checkModuleName(name);
    modules.push({ name, type, bytes: Buffer.from(await part.arrayBuffer()) });
  }
  if (metadata === undefined) throw new ApiError(10006, 'The upload has no part "metadata".');
  checkSize(modules);
  return { metadata, modules };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError(10006, 'The part "metadata" is not JSON.');
  }
}

function checkModuleName(name: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  if (name.length === 0 || name.length > 512 || /[\u0000-\u001f\u007f]/.test(name)) {
    throw new ApiError(10006, `${JSON.stringify(name.slice(0, 80))} is not a valid name for a module.`);
  }
}

function checkSize(modules: UploadedModule[]): void {
  if (modules.length > LIMITS.modulesPerVersion)
    throw new ApiError(10006, `An upload has at most ${LIMITS.modulesPerVersion} modules.`);
  const names = new Set(modules.map(({ name }) => name));
  if (names.size < modules.length) throw new ApiError(10006, 'Two modules have the same name.');
  const bytes = modules.reduce((sum, module) => sum + module.bytes.length, 0);
  const tooLarge = (what: string, limit: number) =>
    new ApiError(
      10027,
      `Your Worker exceeded the size limit of ${limit / 1024 / 1024} MiB ${what}. Make it smaller: fewer dependencies, or assets outside the script.`,
    );
  if (bytes > LIMITS.scriptBytes) throw tooLarge('before compression', LIMITS.scriptBytes);
  // Small ones need not be compressed to know.
  if (bytes <= LIMITS.scriptCompressedBytes) return;
  const compressed = modules.reduce((sum, module) => sum + gzipSync(module.bytes).length, 0);
  if (compressed > LIMITS.scriptCompressedBytes) throw tooLarge('after gzip', LIMITS.scriptCompressedBytes);
}
