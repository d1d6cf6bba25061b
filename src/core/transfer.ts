/**
 * Transfer of Durable Object classes to another Worker
 * (https://developers.cloudflare.com/durable-objects/reference/durable-objects-migrations/#transfer-migration). No file is moved: a namespace
 * says where its objects are. One write of the ledger gives it to the one Worker and takes it from the other, so at any moment exactly one has
 * it; the supervisor sees to it that the process of the one has ended before that of the other starts (`src/pop/owners.ts`).
 */
import { randomUUID } from 'node:crypto';
import type { Binding, Script, Version, WorkerObjects } from '../model/documents.ts';
import { keys } from '../model/keys.ts';
import { RevisionConflict, type Write } from '../state/ledger.ts';
import type { CoreContext } from './context.ts';
import { ApiError } from './errors.ts';
import {
  checkScriptCount,
  checkSize,
  deploymentAfter,
  listScripts,
  newScript,
  prune,
  pruneDeployments,
  withVersion,
} from './store.ts';

const MAX_TRIES = 50;

/**
 * Deploys a version that takes namespaces from other Workers (`taken`: name -> ids), and versions of these without them. To be called with the
 * locks of all of them held. Returns what was written for the taker, and the revisions of all scripts.
 */
export async function deployWithTransfer(
  context: CoreContext,
  made: Version,
  change: (script: Script) => Script,
  taken: ReadonlyMap<string, ReadonlySet<string>>,
): Promise<{ script: Script; version: Version; revisions: number[] }> {
  const { ledger } = context;
  const { accountId, script: name } = made;
  const key = keys.script(accountId, name);
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const entry = await ledger.get<Script>(key);
    if (!entry) await checkScriptCount(context, accountId);
    const before = entry?.value ?? newScript(accountId, name);
    const version = { ...made, number: before.versionCount + 1 };
    checkSize(version);
    const script = deployed(change(withVersion(before, version)), version, version.annotations);
    // A follower sees them in this order: who gives before who takes, and each version before the script that names it.
    const givers = await Promise.all([...taken].map(([giver, ids]) => withoutNamespaces(context, made, giver, ids)));
    const writes = [
      ...givers.flatMap(({ writes }) => writes),
      ...documentsOf(before, version, script, entry?.revision ?? 0),
    ];
    try {
      await ledger.write(writes);
    } catch (error) {
      if (error instanceof RevisionConflict) continue;
      throw error;
    }
    const scripts = [...givers.map(({ script: giver }) => giver), script];
    const revisions: number[] = [];
    for (const each of scripts) {
      await prune(context, each);
      await pruneDeployments(context, each);
      const written = await ledger.get(keys.script(accountId, each.name));
      if (written) revisions.push(written.revision);
    }
    return { script, version, revisions };
  }
  throw new ApiError(10005, 'Other writers keep changing this Worker: try again.');
}

/** Removes the objects of a deleted Worker, but not those that another one has now. */
export async function removeObjects(context: CoreContext, accountId: string, objects: WorkerObjects): Promise<void> {
  // Read after the deletion: from then on none of them can be transferred any more.
  const others = (await listScripts(context, accountId)).flatMap((script) => script.objects?.namespaces ?? []);
  const kept = others.filter(({ storage }) => storage === objects.storage).map(({ id }) => id);
  await context.objectFiles.removeBut(objects.storage, kept);
  for (const { storage, id } of objects.namespaces) {
    if (storage !== undefined && !others.some((other) => other.id === id))
      await context.objectFiles.remove(storage, id);
  }
}

/** The Worker as it is when other objects than its own are behind these classes: its bindings lead to them as before. */
async function withoutNamespaces(
  { ledger }: CoreContext,
  { accountId, script: taker }: Version,
  name: string,
  ids: ReadonlySet<string>,
): Promise<{ script: Script; writes: Write[] }> {
  const entry = await ledger.get<Script>(keys.script(accountId, name));
  const live = entry?.value.deployment?.versions[0]?.versionId;
  const version = live && (await ledger.get<Version>(keys.version(accountId, name, live)))?.value;
  const there = entry?.value.objects?.namespaces.filter(({ id }) => ids.has(id)) ?? [];
  if (!entry || !version || there.length < ids.size) {
    throw new ApiError(10074, `The Durable Objects of the script '${name}' were changed meanwhile: try again.`);
  }
  const before = entry.value;
  const objects = before.objects!;
  const left = { ...objects, namespaces: objects.namespaces.filter(({ id }) => !ids.has(id)) };
  const lead = (binding: Binding): Binding => {
    if (binding.type !== 'durable_object_namespace' || binding.other) return binding;
    const gone = there.find(({ className }) => className === binding.className);
    return gone ? { ...binding, other: { script: taker, namespaceId: gone.id } } : binding;
  };
  const annotations = {
    'workers/triggered_by': 'transfer',
    'workers/message': `Durable Objects of ${there.map(({ className }) => className).join(', ')} were transferred to ${taker}`,
  };
  const next: Version = {
    ...version,
    id: randomUUID(),
    number: before.versionCount + 1,
    createdOn: new Date().toISOString(),
    annotations,
    objects: left,
    bindings: version.bindings.map(lead),
  };
  const script = deployed({ ...withVersion(before, next), objects: left }, next, annotations);
  return { script, writes: documentsOf(before, next, script, entry.revision) };
}

function deployed(script: Script, { id }: Version, annotations: Record<string, string>): Script {
  const deployment = deploymentAfter(script.deployment, [{ versionId: id, percentage: 100 }], annotations);
  return { ...script, deployment, modifiedOn: new Date().toISOString() };
}

/** The script last: it names the others. */
function documentsOf(before: Script, version: Version, script: Script, expected: number): Write[] {
  const { accountId, name } = script;
  return [before.deployment, script.deployment]
    .filter((deployment) => deployment !== null)
    .map((deployment): Write => ({ key: keys.deployment(accountId, name, deployment.id), value: deployment }))
    .concat(
      { key: keys.version(accountId, name, version.id), value: version },
      { key: keys.script(accountId, name), value: script, expected },
    );
}
