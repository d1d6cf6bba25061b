/** Which Workers of an account bind which: asked before a Worker is deleted. */
import type { Version } from '../model/documents.ts';
import { keys } from '../model/keys.ts';
import type { CoreContext } from './context.ts';
import { listScripts } from './store.ts';

export interface References {
  services: { service: string; environment: 'production'; name: string; entrypoint?: string }[];
  durable_objects: {
    service: string;
    environment: 'production';
    name: string;
    durable_object_namespace_id: string;
    durable_object_namespace_name: string;
  }[];
}

/** Bindings to `name` in what other Workers of the account have deployed. */
export async function referencesTo(context: CoreContext, accountId: string, name: string): Promise<References> {
  const found: References = { services: [], durable_objects: [] };
  const seen = new Set<string>();
  for (const script of await listScripts(context, accountId)) {
    if (script.name === name) continue;
    for (const { versionId } of script.deployment?.versions ?? []) {
      const version = (await context.ledger.get<Version>(keys.version(accountId, script.name, versionId)))?.value;
      for (const binding of version?.bindings ?? []) {
        const reference = { service: script.name, environment: 'production' as const, name: binding.name };
        const key = `${binding.type} ${script.name} ${binding.name}`;
        if (seen.has(key)) continue;
        if (binding.type === 'service' && binding.service === name) {
          found.services.push({ ...reference, ...(binding.entrypoint && { entrypoint: binding.entrypoint }) });
        } else if (binding.type === 'durable_object_namespace' && binding.other?.script === name) {
          found.durable_objects.push({
            ...reference,
            durable_object_namespace_id: binding.other.namespaceId,
            durable_object_namespace_name: `${name}_${binding.className}`,
          });
        } else continue;
        seen.add(key);
      }
    }
  }
  return found;
}
