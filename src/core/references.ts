/** Which Workers of an account bind which: asked before a Worker is deleted. */
import type { Version } from '../model/documents.ts';
import { keys } from '../model/keys.ts';
import type { CoreContext } from './context.ts';
import { listScripts } from './store.ts';

export interface Reference {
  service: string;
  environment: 'production';
  /** The binding's name in that Worker. */
  name: string;
  entrypoint?: string;
}

/** Service bindings to `name` in what other Workers of the account have deployed. */
export async function referencesTo(context: CoreContext, accountId: string, name: string): Promise<Reference[]> {
  const found: Reference[] = [];
  for (const script of await listScripts(context, accountId)) {
    if (script.name === name) continue;
    for (const { versionId } of script.deployment?.versions ?? []) {
      const version = (await context.ledger.get<Version>(keys.version(accountId, script.name, versionId)))?.value;
      for (const binding of version?.bindings ?? []) {
        if (binding.type !== 'service' || binding.service !== name) continue;
        if (found.some((known) => known.service === script.name && known.name === binding.name)) continue;
        const entrypoint = binding.entrypoint ? { entrypoint: binding.entrypoint } : {};
        found.push({ service: script.name, environment: 'production', name: binding.name, ...entrypoint });
      }
    }
  }
  return found;
}
