/**
 * Uploads of static assets: a session takes the manifest and says which files are missing, uploads bring them, and the last one
 * is answered with the completion token that a version's metadata names.
 * Source: https://developers.cloudflare.com/workers/static-assets/direct-upload/
 */
import { z } from 'zod';
import type { AssetConfig, AssetManifest } from '../model/documents.ts';
import { keys } from '../model/keys.ts';
import { LIMITS } from '../model/limits.ts';
import { log, reason } from '../model/log.ts';
import { parseAssetConfig } from '../products/assets/config.ts';
import { type App, define, reply } from './app.ts';
import { type ClientManifest, checkManifest, filesOf, isHashOf } from './assets-manifest.ts';
import { signAssetsToken, verifyAssetsToken } from './assets-token.ts';
import { readBody, readJson } from './body.ts';
import type { CoreContext } from './context.ts';
import { ApiError } from './errors.ts';

const MiB = 1024 * 1024;
/** 20,000 paths with hash and size. */
const MANIFEST_BYTES = 16 * MiB;
/** What one upload is asked to bring: files up to this size together, unless a single file is larger. */
const BUCKET_BYTES = 24 * MiB;
const BUCKET_FILES = 500;
/** The largest file or bucket in base64, and the parts' headers. */
const UPLOAD_BYTES = Math.ceil((Math.max(BUCKET_BYTES, LIMITS.assetFileBytes) * 4) / 3) + 2 * MiB;
/** Files that are looked up at once. */
const BATCH = 64;

/** Document `asset/<account>/<hash>`. */
interface StoredAsset {
  blob: string;
  sizeBytes: number;
  contentType: string | null;
}

type Parts = Pick<CoreContext, 'ledger' | 'blobs' | 'vault'>;

/** What an upload session keeps, as a blob. */
interface Session {
  manifest: ClientManifest;
}

/** Adds the two endpoints. The second one is authenticated by the session's token instead of an API token. */
export function registerAssetsUpload(app: App, context: CoreContext): void {
  define(
    app,
    context,
    {
      method: 'post',
      path: '/accounts/{account_id}/workers/scripts/{script_name}/assets-upload-session',
      summary: 'Start an upload of static assets',
      rawBody: 'application/json',
    },
    async ({ c, account, params }) => {
      const manifest = checkManifest(await readJson(c.req.raw, MANIFEST_BYTES));
      const files = [...filesOf(manifest)];
      const stored = await storedAssets(context, account.id, files);
      const absent = files.filter(([hash]) => !stored.has(hash));
      const state: Session = { manifest };
      const session = (await context.blobs.put(Buffer.from(JSON.stringify(state)))).hash;
      const kind = absent.length === 0 ? 'complete' : 'upload';
      const claims = { kind, accountId: account.id, script: params.script_name!, session } as const;
      return { jwt: await signAssetsToken(context, claims), buckets: bucketsOf(absent) };
    },
  );

  define(
    app,
    context,
    {
      method: 'post',
      path: '/accounts/{account_id}/workers/assets/upload',
      summary: 'Upload files of an asset upload session (authorized by the token of the session)',
      auth: 'none',
      query: z.object({
        base64: z.literal('true', { error: 'the files must be in base64, and base64=true must say so' }),
      }),
      rawBody: 'multipart/form-data',
    },
    async ({ c, params }) => {
      const token = /^Bearer +(\S{1,4096})$/i.exec(c.req.header('authorization') ?? '')?.[1];
      if (token === undefined) {
        throw new ApiError(10303, 'The Authorization header must hold the token of the asset upload session.');
      }
      const claims = await verifyAssetsToken(context, token, 'upload');
      if (claims.accountId !== params.account_id) {
        throw new ApiError(10303, 'The token of the asset upload is of another account.');
      }
      const { manifest } = await readSession(context, claims.session);
      await storeFiles(context, claims.accountId, manifest, c.req.raw);
      if (!(await isComplete(context, claims.accountId, manifest))) return reply({ jwt: null }, { status: 202 });
      return reply({ jwt: await signAssetsToken(context, { ...claims, kind: 'complete' }) }, { status: 201 });
    },
  );
}

/**
 * The manifest (hash of a blob with an AssetManifest) that a completion token stands for. Throws ApiError 10303 if the token is
 * not valid, expired, or of another account or Worker, 10305 if a file is no longer there.
 */
export async function resolveAssetsJwt(
  context: Parts,
  jwt: string,
  accountId: string,
  script: string,
): Promise<{ manifest: string }> {
  const claims = await verifyAssetsToken(context, jwt, 'complete');
  if (claims.accountId !== accountId || claims.script !== script) {
    throw new ApiError(10303, 'The token of the assets is of another Worker.');
  }
  const { manifest } = await readSession(context, claims.session);
  const stored = await storedAssets(context, accountId, [...filesOf(manifest)]);
  const files = Object.entries(manifest).map(([path, { hash }]) => {
    const file = stored.get(hash);
    if (!file) throw new ApiError(10305, `The asset ${path} is no longer there: start the upload again.`);
    return [path, { hash: file.blob, etag: hash, sizeBytes: file.sizeBytes, contentType: file.contentType }] as const;
  });
  const resolved: AssetManifest = Object.fromEntries(files);
  return { manifest: (await context.blobs.put(Buffer.from(JSON.stringify(resolved)))).hash };
}

/** `metadata.assets.config` of an upload, checked, with its defaults. Throws ApiError 10305 that names the field. */
export function assetConfig(
  raw: unknown,
  version: { compatibilityDate: string; compatibilityFlags: readonly string[] },
): AssetConfig {
  let parsed: ReturnType<typeof parseAssetConfig>;
  try {
    parsed = parseAssetConfig(raw, version);
  } catch (error) {
    throw new ApiError(10305, reason(error));
  }
  // wrangler shows these lines before it uploads; they are kept for those who deploy by other means.
  for (const warning of parsed.warnings) log('info', `assets: ${warning}`);
  return parsed.config;
}

async function readSession({ blobs }: Parts, hash: string): Promise<Session> {
  const json = await blobs.get(hash);
  if (!json) throw new ApiError(10303, 'The session of the asset upload is gone: start the upload again.');
  return JSON.parse(json.toString('utf8')) as Session;
}

type File = [hash: string, { size: number }];

/** The files that this account has uploaded before, with their blobs still there. */
async function storedAssets(
  { ledger, blobs }: Parts,
  accountId: string,
  files: readonly File[],
): Promise<Map<string, StoredAsset>> {
  const stored = new Map<string, StoredAsset>();
  for (let at = 0; at < files.length; at += BATCH) {
    await Promise.all(
      files.slice(at, at + BATCH).map(async ([hash, { size }]) => {
        const asset = (await ledger.get<StoredAsset>(keys.asset(accountId, hash)))?.value;
        if (asset && asset.sizeBytes === size && (await blobs.size(asset.blob)) === size) stored.set(hash, asset);
      }),
    );
  }
  return stored;
}

/**
 * Are all files there? Of several uploads at once, the one that stores last finds it so. Files are asked for from the end, where
 * those are that clients upload last, and the first one that is absent decides: 40 uploads do not look up 20,000 files each.
 */
async function isComplete(context: Parts, accountId: string, manifest: ClientManifest): Promise<boolean> {
  const files = [...filesOf(manifest)].reverse();
  for (let at = 0; at < files.length; at += BATCH) {
    const some = files.slice(at, at + BATCH);
    if ((await storedAssets(context, accountId, some)).size < some.length) return false;
  }
  return true;
}

function bucketsOf(absent: readonly File[]): string[][] {
  const buckets: string[][] = [];
  let bytes = 0;
  for (const [hash, { size }] of absent) {
    const last = buckets.at(-1);
    if (last && last.length < BUCKET_FILES && bytes + size <= BUCKET_BYTES) {
      last.push(hash);
      bytes += size;
    } else {
      buckets.push([hash]);
      bytes = size;
    }
  }
  return buckets;
}

/** Stores the files of a multipart body. All are checked before the first is stored. */
async function storeFiles(
  { ledger, blobs }: Parts,
  accountId: string,
  manifest: ClientManifest,
  request: Request,
): Promise<void> {
  const announced = filesOf(manifest);
  const files: { hash: string; content: Buffer; contentType: string | null }[] = [];
  for (const [hash, part] of await readParts(request)) {
    const file = announced.get(hash);
    const wrong = (why: string) => new ApiError(10304, `The file ${JSON.stringify(hash.slice(0, 64))} ${why}.`);
    if (!file) throw wrong('is not in the manifest of this session');
    const base64 = typeof part === 'string' ? part : await part.text();
    const content = Buffer.from(base64, 'base64');
    if (content.toString('base64') !== base64) throw wrong('is not in base64 (standard alphabet, padded)');
    if (content.length !== file.size) throw wrong(`has ${content.length} bytes, not ${file.size} as the manifest says`);
    if (!isHashOf(hash, base64, content, file.extensions)) throw wrong('has other content than its hash says');
    files.push({ hash, content, contentType: contentTypeOf(typeof part === 'string' ? '' : part.type, wrong) });
  }
  for (const { hash, content, contentType } of files) {
    const stored: StoredAsset = { blob: (await blobs.put(content)).hash, sizeBytes: content.length, contentType };
    const there = await ledger.get<StoredAsset>(keys.asset(accountId, hash));
    if (JSON.stringify(there?.value) !== JSON.stringify(stored)) await ledger.put(keys.asset(accountId, hash), stored);
  }
}

async function readParts(request: Request): Promise<FormData> {
  const type = request.headers.get('content-type') ?? '';
  if (!/^multipart\/form-data\s*;/i.test(type)) {
    throw new ApiError(10304, 'The files must come as multipart/form-data, one part per file, named by its hash.');
  }
  const body = await readBody(request, UPLOAD_BYTES);
  try {
    return await new Response(body, { headers: { 'content-type': type } }).formData();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new ApiError(10304, 'The body cannot be read as multipart/form-data.');
  }
}

/** The part's type becomes the file's Content-Type; "application/null" is wrangler's way to say that there is none. */
function contentTypeOf(type: string, wrong: (why: string) => ApiError): string | null {
  if (type === '' || type === 'application/null') return null;
  if (type.length > 200 || !/^[\w.+-]+\/[\w.+-]+(\s*;[\x20-\x7e]*)?$/.test(type))
    throw wrong('has no valid content type');
  return type;
}
