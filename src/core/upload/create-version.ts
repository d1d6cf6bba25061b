/** An upload becomes a Version: form -> metadata -> bindings, limits, assets -> modules in Blobs -> inspected by the runtime. Nothing is live yet. */
import { createHash, randomUUID } from 'node:crypto';
import type { Account, Script, Version, VersionAssets, VersionLimits, WorkerObjects } from '../../model/documents.ts';
import { LIMITS } from '../../model/limits.ts';
import type { InspectResult } from '../../model/messages.ts';
import {
  bindOwn,
  checkExports,
  checkObjectBindings,
  type ObjectChange,
  objectsOf,
  transferSourcesOf,
} from '../../products/durable-objects/upload.ts';
import { NoResponder, RequestTimeout } from '../../state/bus.ts';
import { assetConfig, resolveAssetsJwt } from '../assets-upload.ts';
import type { CoreContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import { AUTHOR, findScript, latestVersion } from '../store.ts';
import { resolveBindings } from './bindings.ts';
import type { UploadedModule, UploadForm } from './form.ts';
import { type Metadata, readMetadata } from './metadata.ts';

/** The runtime's date: later compatibility dates are unknown to it. */
const MAX_COMPATIBILITY_DATE = '2026-11-17';
/** Workers without a date behave as on the first day, as Cloudflare does it. */
const DEFAULT_COMPATIBILITY_DATE = '2021-11-02';

export interface Upload {
  version: Version;
  metadata: Metadata;
  objects: ObjectChange;
}

/** Checks the upload of a Worker. `script` is null for a new one. Throws ApiError with what is wrong. */
export async function createVersion(
  context: CoreContext,
  account: Account,
  name: string,
  script: Script | null,
  form: UploadForm,
): Promise<Upload> {
  const metadata = readMetadata(form.metadata);
  refuseAbsent(metadata, form.modules);
  const before = script ? await latestVersion(context, script) : null;
  const { format, mainModule } = mainOf(metadata, form.modules);
  const objects = objectsOf(script, metadata.migrations, await sourcesOf(context, account, name, metadata));
  const version: Version = {
    id: randomUUID(),
    accountId: account.id,
    script: name,
    number: 0,
    createdOn: new Date().toISOString(),
    authorEmail: AUTHOR,
    source: 'wrangler',
    annotations: { 'workers/triggered_by': 'upload', ...annotationsOf(metadata) },
    format,
    mainModule,
    modules: [],
    bindings: bindOwn(await resolveBindings(context, account, name, metadata, before), objects.objects),
    compatibilityDate: compatibilityDate(metadata),
    compatibilityFlags: metadata.compatibility_flags,
    limits: limitsOf(context, metadata),
    placement: metadata.placement ?? null,
    assets: await assetsOf(context, account, name, metadata, before),
    ...(objects.objects && { objects: objects.objects }),
    etag: etagOf(form.modules),
    handlers: [],
    entrypoints: [],
    startupTimeMs: 0,
  };
  if (version.bindings.some(({ type }) => type === 'assets') && !version.assets) {
    throw new ApiError(10006, 'There is a binding to assets, but the upload has no assets.');
  }
  // Service-worker scripts are sent under the type of CommonJS modules.
  const modules = form.modules.map((module) => ({
    ...module,
    type: module.name === mainModule && format === 'modules' ? ('esm' as const) : module.type,
  }));
  for (const { name: moduleName, type, bytes } of modules) {
    const { hash, sizeBytes } = await context.blobs.put(bytes);
    version.modules.push({ name: moduleName, type, hash, sizeBytes });
  }
  checkObjectBindings(version);
  await inspectVersion(context, version);
  checkExports(version);
  return { version, metadata, objects };
}

/** What the other Workers of the account have that the upload takes objects from. */
async function sourcesOf(
  context: CoreContext,
  account: Account,
  name: string,
  { migrations }: Metadata,
): Promise<Map<string, WorkerObjects>> {
  const found = new Map<string, WorkerObjects>();
  for (const source of transferSourcesOf(migrations)) {
    const objects = source === name ? undefined : (await findScript(context, account.id, source))?.objects;
    if (objects) found.set(source, objects);
  }
  return found;
}

/** Starts the script once and takes over what it tells of itself. Throws ApiError 10021 with the runtime's message. */
export async function inspectVersion(context: CoreContext, version: Version): Promise<void> {
  if (version.format === 'assets-only') return;
  let result: InspectResult;
  try {
    result = await context.bus.request('pop.inspect', { version }, { timeoutMs: LIMITS.startupWallMs + 20_000 });
  } catch (error) {
    if (error instanceof NoResponder || error instanceof RequestTimeout)
      throw new ApiError(10004, 'The machine that tries scripts does not answer: try again.');
    throw error;
  }
  if (!result.ok) throw new ApiError(10021, result.message);
  const known = new Set(result.entrypoints.map(({ name }) => name));
  for (const binding of version.bindings) {
    if (binding.type !== 'service' || binding.service !== version.script) continue;
    if (binding.entrypoint && binding.entrypoint !== 'default' && !known.has(binding.entrypoint)) {
      throw new ApiError(
        10144,
        `Cannot find entrypoint '${binding.entrypoint}' of this Worker for binding '${binding.name}'.`,
      );
    }
  }
  version.handlers = result.handlers;
  version.entrypoints = result.entrypoints;
  version.startupTimeMs = result.startupTimeMs;
}

function refuseAbsent(metadata: Metadata, modules: UploadedModule[]): void {
  const absent = (what: string) =>
    new ApiError(10058, `This Selvedge has no ${what} yet. Remove them from the configuration to deploy.`);
  if (metadata.exports && Object.keys(metadata.exports as object).length > 0) throw absent('Durable Objects (exports)');
  if (metadata.containers && metadata.containers.length > 0) throw absent('Containers');
  if (metadata.tail_consumers?.length || metadata.streaming_tail_consumers?.length)
    throw absent('Tail Workers (tail_consumers)');
  if (modules.some(({ type }) => type === 'python' || type === 'python-requirement')) throw absent('Python Workers');
}

function mainOf(metadata: Metadata, modules: UploadedModule[]): { format: Version['format']; mainModule: string } {
  const { main_module: main, body_part: body } = metadata;
  const name = main ?? body;
  if (name === undefined) {
    if (metadata.assets && modules.length === 0) return { format: 'assets-only', mainModule: '' };
    throw new ApiError(10006, 'The metadata name neither a main_module nor a body_part.');
  }
  if (!modules.some((module) => module.name === name))
    throw new ApiError(10006, `The upload has no part ${JSON.stringify(name)}, which its metadata name.`);
  return { format: main === undefined ? 'service-worker' : 'modules', mainModule: name };
}

function annotationsOf({ annotations }: Metadata): Record<string, string> {
  const alias = annotations['workers/alias'];
  if (alias !== undefined && !/^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(alias)) {
    throw new ApiError(
      10001,
      `The preview alias ${JSON.stringify(alias)} is not lower-case letters, digits and dashes, beginning with a letter.`,
    );
  }
  return Object.fromEntries(Object.entries(annotations).filter(([key]) => key.startsWith('workers/')));
}

function compatibilityDate({ compatibility_date: date = DEFAULT_COMPATIBILITY_DATE }: Metadata): string {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(date) || Number.isNaN(Date.parse(date)))
    throw new ApiError(10021, `The compatibility date ${JSON.stringify(date)} is not of the form YYYY-MM-DD.`);
  if (date > MAX_COMPATIBILITY_DATE)
    throw new ApiError(
      10021,
      `The compatibility date ${date} is in the future of this runtime: ${MAX_COMPATIBILITY_DATE} is the latest.`,
    );
  return date;
}

function limitsOf({ settings: { plan } }: CoreContext, { limits }: Metadata): VersionLimits {
  const within = (name: 'cpuMs' | 'subrequests', asked: number | undefined) => {
    const { default: usual, max } = plan[name];
    if (asked !== undefined && asked > max)
      throw new ApiError(
        10039,
        `limits.${name === 'cpuMs' ? 'cpu_ms' : name} is ${asked}; this Selvedge allows at most ${max}.`,
      );
    return asked ?? usual;
  };
  return {
    cpuMs: within('cpuMs', limits?.cpu_ms),
    memoryMb: plan.memoryMb.default,
    subrequests: within('subrequests', limits?.subrequests),
  };
}

async function assetsOf(
  context: CoreContext,
  account: Account,
  name: string,
  metadata: Metadata,
  before: Version | null,
): Promise<VersionAssets | null> {
  if (!metadata.assets) return metadata.keep_assets ? (before?.assets ?? null) : null;
  const version = { compatibilityDate: compatibilityDate(metadata), compatibilityFlags: metadata.compatibility_flags };
  const config = assetConfig(metadata.assets.config, version);
  const { jwt } = metadata.assets;
  const manifest = jwt ? (await resolveAssetsJwt(context, jwt, account.id, name)).manifest : before?.assets?.manifest;
  if (!manifest) throw new ApiError(10006, 'The metadata have assets without the jwt of an upload session.');
  return { manifest, config };
}

function etagOf(modules: UploadedModule[]): string {
  const digest = createHash('sha256');
  for (const { name, type, bytes } of modules) digest.update(`${name}\0${type}\0${bytes.length}\0`).update(bytes);
  return digest.digest('hex');
}
