/**
 * Scripts, versions and deployments in the ledger, always under one account. The script document is the point of commit: it is replaced
 * only if nobody else changed it meanwhile, so two writers get one order and neither is lost.
 */
import { randomUUID } from 'node:crypto';
import type { Account, Deployment, Script, Version } from '../model/documents.ts';
import { keys } from '../model/keys.ts';
import { LIMITS } from '../model/limits.ts';
import { log, reason } from '../model/log.ts';
import { MAX_DOCUMENT_BYTES, RevisionConflict } from '../state/ledger.ts';
import { newId } from './accounts.ts';
import type { CoreContext } from './context.ts';
import { ApiError } from './errors.ts';

const MAX_TRIES = 50;
/** A deploy is durable when this wait begins: a PoP that needs longer is told of it anyhow. */
const APPLIED_TIMEOUT_MS = 10_000;
export const AUTHOR = 'selvedge@localhost';

/** The script, or ApiError 10007 as wrangler expects it. */
export async function requireScript(context: CoreContext, account: Account, name: string): Promise<Script> {
  const script = await findScript(context, account.id, name);
  if (!script) throw notFound();
  return script;
}

export async function findScript(context: CoreContext, accountId: string, name: string): Promise<Script | null> {
  if (!isScriptName(name)) return null;
  return (await context.ledger.get<Script>(keys.script(accountId, name)))?.value ?? null;
}

/** A DNS label, as Cloudflare wants for workers.dev; underscores are allowed but such Workers have no host there. */
export function isScriptName(name: string): boolean {
  return name.length <= LIMITS.scriptNameLength && /^[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?$/.test(name);
}

/** A script that has no version yet. */
export function newScript(accountId: string, name: string): Script {
  const now = new Date().toISOString();
  return {
    accountId,
    name,
    tag: newId(),
    createdOn: now,
    modifiedOn: now,
    tags: [],
    workersDev: false,
    previews: false,
    schedules: [],
    observability: null,
    logpush: false,
    tailConsumers: [],
    migrationTag: null,
    versionCount: 0,
    latestVersionId: null,
    aliases: {},
    deployment: null,
  };
}

/**
 * Reads the script, lets `change` make the new one, and writes it if nobody wrote in between; otherwise again. `change` gets null for a script that
 * does not exist. Returns what was written and its revision.
 */
export async function changeScript(
  context: CoreContext,
  accountId: string,
  name: string,
  change: (script: Script | null) => Script | Promise<Script>,
): Promise<{ script: Script; revision: number }> {
  const key = keys.script(accountId, name);
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const entry = await context.ledger.get<Script>(key);
    const script = { ...(await change(entry?.value ?? null)), modifiedOn: new Date().toISOString() };
    try {
      return { script, revision: await context.ledger.put(key, script, entry?.revision ?? 0) };
    } catch (error) {
      if (!(error instanceof RevisionConflict)) throw error;
    }
  }
  throw new ApiError(10005, 'Other writers keep changing this Worker: try again.');
}

/** Changes an existing script and waits until that is live. Throws ApiError 10007. */
export async function updateScript(
  context: CoreContext,
  account: Account,
  name: string,
  change: (script: Script) => Script,
): Promise<{ script: Script; revision: number }> {
  await requireScript(context, account, name);
  const result = await changeScript(context, account.id, name, (script) => {
    if (!script) throw notFound();
    return change(script);
  });
  await untilLive(context, result.revision);
  return result;
}

/** All scripts of an account, by name. */
export async function listScripts(context: CoreContext, accountId: string): Promise<Script[]> {
  return (await context.ledger.list<Script>(keys.scripts(accountId))).map(({ value }) => value);
}

/**
 * Removes what a deletion that was cut off (power, kill -9) left behind, before a script of that name is made anew: otherwise the new
 * one would show the old one's versions. To be called with the Worker's lock held.
 */
export async function clearLeftovers({ ledger }: CoreContext, accountId: string, name: string): Promise<void> {
  await ledger.delete(keys.rollout(accountId, name));
  for (const prefix of [keys.versions(accountId, name), keys.deployments(accountId, name)]) {
    for (const { key } of await ledger.list(prefix)) await ledger.delete(key);
  }
}

const notFound = () => new ApiError(10007, 'This Worker does not exist on your account.');

/** Waits until this machine serves what the ledger says at `sequence`. It is durable already, so a slow PoP is no failure. */
export async function untilLive(context: CoreContext, sequence: number): Promise<void> {
  try {
    await context.bus.request('pop.applied', { sequence }, { timeoutMs: APPLIED_TIMEOUT_MS });
  } catch (error) {
    log('warn', 'a change is durable but not yet live here', { sequence, error: reason(error) });
  }
}

export async function listVersions(context: CoreContext, script: Script): Promise<Version[]> {
  const entries = await context.ledger.list<Version>(keys.versions(script.accountId, script.name));
  return entries.map(({ value }) => value).sort((a, b) => b.number - a.number);
}

/** A version of the script; ApiError 10212 if it has none of this id. */
export async function requireVersion(context: CoreContext, script: Script, id: string): Promise<Version> {
  const known = /^[0-9a-f-]{36}$/.test(id);
  const version = known
    ? (await context.ledger.get<Version>(keys.version(script.accountId, script.name, id)))?.value
    : null;
  if (!version) throw new ApiError(10212, `The version ${id} does not exist on the Worker ${script.name}.`);
  return version;
}

export async function latestVersion(context: CoreContext, script: Script): Promise<Version | null> {
  return script.latestVersionId ? requireVersion(context, script, script.latestVersionId) : null;
}

/** Deployments, newest first: the active one stands in the script, the others are documents of their own. */
export async function listDeployments(context: CoreContext, script: Script): Promise<Deployment[]> {
  const history = await context.ledger.list<Deployment>(keys.deployments(script.accountId, script.name));
  const all = history.map(({ value }) => value).filter(({ id }) => id !== script.deployment?.id);
  all.sort((a, b) => b.createdOn.localeCompare(a.createdOn));
  return script.deployment ? [script.deployment, ...all] : all;
}

/** Writes the version and makes it the script's latest; creates the script if there is none. */
export async function addVersion(
  context: CoreContext,
  version: Version,
  change: (script: Script) => Script = (script) => script,
): Promise<{ script: Script; version: Version; revision: number }> {
  const { accountId, script: name } = version;
  let written = version;
  const result = await changeScript(context, accountId, name, async (before) => {
    if (!before) await checkScriptCount(context, accountId);
    const script = before ?? newScript(accountId, name);
    written = { ...version, number: script.versionCount + 1 };
    checkSize(written);
    // Before the script names it; a lost race leaves a document that the next try replaces.
    await context.ledger.put(keys.version(accountId, name, version.id), written);
    return change(withVersion(script, written));
  });
  await prune(context, result.script);
  return { ...result, version: written };
}

/** The script with this version as its latest one. */
export function withVersion(script: Script, { id, number, annotations }: Version): Script {
  const alias = annotations['workers/alias'];
  return {
    ...script,
    versionCount: number,
    latestVersionId: id,
    aliases: alias ? withAlias(script.aliases, alias, id) : script.aliases,
  };
}

/** The deployment that was to be replaced is no longer the active one. */
export class Superseded extends Error {
  override name = 'Superseded';
}

/**
 * Gives the versions their shares of the traffic. Returns when it is durable; see `untilLive`. `replaces`: only if this deployment is
 * the active one, otherwise throws Superseded.
 */
export async function deploy(
  context: CoreContext,
  accountId: string,
  name: string,
  versions: Deployment['versions'],
  annotations: Record<string, string>,
  replaces?: string,
): Promise<{ deployment: Deployment; revision: number }> {
  const id = randomUUID();
  const { script, revision } = await changeScript(context, accountId, name, async (before) => {
    if (!before) throw notFound();
    if (replaces !== undefined && before.deployment?.id !== replaces) throw new Superseded(replaces);
    // The history of the one that is replaced is complete before it goes.
    if (before.deployment)
      await context.ledger.put(keys.deployment(accountId, name, before.deployment.id), before.deployment);
    return { ...before, deployment: { ...deploymentAfter(before.deployment, versions, annotations), id } };
  });
  await context.ledger.put(keys.deployment(accountId, name, id), script.deployment);
  await pruneDeployments(context, script);
  return { deployment: script.deployment!, revision };
}

export function deploymentAfter(
  before: Deployment | null,
  versions: Deployment['versions'],
  annotations: Record<string, string>,
): Deployment {
  // Times rise strictly, so that their order is the order of the writes.
  const last = Date.parse(before?.createdOn ?? '') || 0;
  return {
    id: randomUUID(),
    source: 'wrangler',
    strategy: 'percentage',
    authorEmail: AUTHOR,
    createdOn: new Date(Math.max(Date.now(), last + 1)).toISOString(),
    annotations,
    versions,
  };
}

/** Removes the script and all that hangs on it. */
export async function deleteScript(context: CoreContext, script: Script): Promise<number> {
  const { ledger } = context;
  const { accountId, name } = script;
  const mine = (value: { accountId: string; script: string | null }) =>
    value.accountId === accountId && value.script === name;
  for (const prefix of [keys.routes(), keys.domains]) {
    for (const { key, value } of await ledger.list<{ accountId: string; script: string | null }>(prefix)) {
      if (mine(value)) await ledger.delete(key);
    }
  }
  await ledger.delete(keys.script(accountId, name));
  await clearLeftovers(context, accountId, name);
  return ledger.sequence();
}

export async function checkScriptCount(context: CoreContext, accountId: string): Promise<void> {
  const scripts = await context.ledger.list(keys.scripts(accountId), { limit: LIMITS.scriptsPerAccount });
  if (scripts.length >= LIMITS.scriptsPerAccount) {
    throw new ApiError(10037, `This account has ${LIMITS.scriptsPerAccount} Workers, the most that it may have.`);
  }
}

/** Sets an alias; of too many the ones set longest ago go, because each keeps its version from being pruned. */
function withAlias(aliases: Script['aliases'], alias: string, versionId: string): Script['aliases'] {
  const { [alias]: _, ...others } = aliases;
  return Object.fromEntries([...Object.entries(others), [alias, versionId]].slice(-LIMITS.versionsPerScript));
}

export function checkSize(version: Version): void {
  const bytes = Buffer.byteLength(JSON.stringify(version));
  if (bytes <= MAX_DOCUMENT_BYTES) return;
  throw new ApiError(
    10055,
    `Bindings, module names and asset rules together take ${bytes} bytes; a version may have ${MAX_DOCUMENT_BYTES}.`,
  );
}

/** Keeps the newest versions and those that are deployed or have an alias. */
export async function prune(context: CoreContext, script: Script): Promise<void> {
  if (script.versionCount <= LIMITS.versionsPerScript) return;
  const kept = new Set([
    ...Object.values(script.aliases),
    ...(script.deployment?.versions.map(({ versionId }) => versionId) ?? []),
  ]);
  for (const version of (await listVersions(context, script)).slice(LIMITS.versionsPerScript)) {
    if (!kept.has(version.id)) await context.ledger.delete(keys.version(script.accountId, script.name, version.id));
  }
}

/** Keeps the newest deployments of the history. */
export async function pruneDeployments(context: CoreContext, script: Script): Promise<void> {
  for (const { id } of (await listDeployments(context, script)).slice(LIMITS.versionsPerScript)) {
    await context.ledger.delete(keys.deployment(script.accountId, script.name, id));
  }
}
