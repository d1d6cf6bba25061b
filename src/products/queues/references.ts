/** Which Workers send to queues and which consume them. */
import type { CoreContext } from '../../core/context.ts';
import { ApiError } from '../../core/errors.ts';
import { serialized } from '../../core/serialize.ts';
import { listScripts } from '../../core/store.ts';
import type { Version } from '../../model/documents.ts';
import { keys } from '../../model/keys.ts';
import type { Queue } from './queues.ts';

/** One writer of an account's queues at a time. */
export const lockOf = (accountId: string) => `queues/${accountId}`;

/** Queue id -> names of the Workers that have it bound in what is deployed. */
export async function producersOf(context: CoreContext, accountId: string): Promise<Map<string, string[]>> {
  const found = new Map<string, Set<string>>();
  for (const script of await listScripts(context, accountId)) {
    for (const { versionId } of script.deployment?.versions ?? []) {
      const version = (await context.ledger.get<Version>(keys.version(accountId, script.name, versionId)))?.value;
      for (const binding of version?.bindings ?? []) {
        if (binding.type !== 'queue') continue;
        found.set(binding.queueId, (found.get(binding.queueId) ?? new Set()).add(script.name));
      }
    }
  }
  return new Map([...found].map(([id, names]) => [id, [...names]]));
}

/** Stores what is said of a queue and tells the broker. Throws ApiError 11009 if the name is taken. */
export async function changeQueue(
  { queues, bus }: CoreContext,
  queue: Queue,
  change: Partial<Queue['document']> & { name?: string },
): Promise<Queue> {
  const { name = queue.name, ...document } = change;
  const changed = { ...queue.document, ...document, modifiedOn: new Date().toISOString() };
  if (!(await queues.messages.change(queue.key, name, changed))) {
    throw new ApiError(11009, `Queue name '${name}' is already taken. Please use a different name and try again.`);
  }
  bus.publish('local.queue-changed', { queueId: queue.id });
  return { ...queue, name, document: changed };
}

/** A Worker that is deleted consumes nothing any more. Throws ApiError 10064 if it does, unless that is to end with it. */
export async function releaseConsumer(
  context: CoreContext,
  accountId: string,
  script: string,
  force: boolean,
): Promise<void> {
  await serialized(lockOf(accountId), async () => {
    const consumed = context.queues.messages.ofAccount(accountId).filter(({ document: { consumer } }) => {
      return consumer?.type === 'worker' && consumer.script === script;
    });
    if (consumed.length > 0 && !force) {
      const names = consumed.map(({ name }) => name).join(', ');
      throw new ApiError(10064, `script still in use as a consumer for a queue (${names})`);
    }
    for (const queue of consumed) await changeQueue(context, queue, { consumer: null });
  });
}
