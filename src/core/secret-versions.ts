/** Secrets are part of a version, and versions never change: other secrets make another version. */
import { randomUUID } from 'node:crypto';
import { z } from '@hono/zod-openapi';
import type { Account, Binding } from '../model/documents.ts';
import type { CoreContext } from './context.ts';
import { ApiError } from './errors.ts';
import { addVersion, latestVersion, requireScript } from './store.ts';
import { checkCounts, checkVariable } from './upload/bindings.ts';
import { inspectVersion } from './upload/create-version.ts';

export const SecretChange = z.object({ type: z.literal('secret_text'), text: z.string() }).loose();
/** Name -> new value, or null to delete it. */
export type SecretChanges = Record<string, z.output<typeof SecretChange> | null>;

/** A new version that differs from the latest one in its secrets. To be called with the Worker's lock held. */
export async function cloneLatest(
  context: CoreContext,
  account: Account,
  name: string,
  changes: SecretChanges,
  annotations: Record<string, string>,
): ReturnType<typeof addVersion> {
  const script = await requireScript(context, account, name);
  const latest = await latestVersion(context, script);
  if (!latest) throw new ApiError(10222, `The Worker ${name} has no version yet.`);
  const version = {
    ...latest,
    id: randomUUID(),
    createdOn: new Date().toISOString(),
    annotations,
    bindings: changeSecrets(context, latest.bindings, changes),
  };
  // Code can read secrets while it starts.
  await inspectVersion(context, version);
  return addVersion(context, version);
}

/** The bindings with these secrets set or (null) removed. Throws ApiError 10053 to 10056. */
function changeSecrets(context: CoreContext, bindings: readonly Binding[], changes: SecretChanges): Binding[] {
  const result = new Map(bindings.map((binding) => [binding.name, binding]));
  for (const [name, change] of Object.entries(changes)) {
    const there = result.get(name);
    if (there && there.type !== 'secret_text') {
      throw new ApiError(10053, `Binding name '${name}' already in use. Please use a different name and try again.`);
    }
    if (change === null) {
      if (!there) throw new ApiError(10056, `There is no secret ${JSON.stringify(name)} to delete.`);
      result.delete(name);
    } else {
      checkVariable(name, change.text);
      result.set(name, { name, type: 'secret_text', sealed: context.vault.seal(change.text) });
    }
  }
  const changed = [...result.values()];
  checkCounts(changed);
  return changed;
}
