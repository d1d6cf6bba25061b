/** D1 in the supervisor: starts the process of a database that is asked for, and ends it for good when the database is deleted. */
import { keys } from '../../model/keys.ts';
import { log, reason } from '../../model/log.ts';
import type { Requests } from '../../model/messages.ts';
import type { Fleet } from '../../pop/fleet.ts';
import { systemWorker } from '../../pop/isolates/products.ts';
import type { Bus } from '../../state/bus.ts';
import type { Ledger } from '../../state/ledger.ts';
import type { ObjectFiles } from '../../state/object-files.ts';
import { Databases } from './databases.ts';
import { D1_NAMESPACE, databaseVersion, storageOf, versionIdOf } from './process.ts';

/** Answers the bus from now on, and removes what deletions before a crash have left. */
export function ownDatabases(bus: Bus, ledger: Ledger, fleet: Fleet, files: ObjectFiles): void {
  // First of all: a restore that was cut has its files beside their place.
  const swept = sweep().catch((error: unknown) => {
    log('error', 'what restores and deletions have left is not cleared', { error: reason(error) });
  });
  const exists = async (accountId: string, id: string) => (await ledger.get(keys.d1(accountId, id))) !== null;

  bus.respond('local.d1-wake', async ({ accountId, id }: Requests['local.d1-wake'][0]) => {
    await swept;
    if (!(await exists(accountId, id))) return null;
    const { isolates } = await fleet.ensure(await databaseVersion({ accountId, id }, systemWorker));
    // Deleted meanwhile: what the start has made of it goes again.
    if (!(await exists(accountId, id))) {
      await remove(id);
      return null;
    }
    if (!isolates[0]) throw new Error('the process ended at its start');
    return isolates[0];
  });
  bus.respond('local.d1-remove', async ({ id }: Requests['local.d1-remove'][0]) => {
    await remove(id);
    return {};
  });

  bus.respond('local.d1-restore', async ({ id, from }: Requests['local.d1-restore'][0]) => {
    const storage = storageOf(id);
    await fleet.vacate(versionIdOf(id), storage, () => files.replace(storage, D1_NAMESPACE, from));
    return {};
  });

  function remove(id: string): Promise<void> {
    const storage = storageOf(id);
    return fleet.vacate(versionIdOf(id), storage, () => files.remove(storage, null));
  }

  async function sweep(): Promise<void> {
    await files.recover(D1_NAMESPACE);
    const found = await files.storagesWith(D1_NAMESPACE);
    const known = new Set((await new Databases(ledger).all()).map(({ id }) => storageOf(id)));
    for (const storage of found) if (!known.has(storage)) await files.remove(storage, null);
  }
}
