/** Zones over the API. */
import { z } from '@hono/zod-openapi';
import type { Account, Zone } from '../../model/documents.ts';
import { type App, define, Paging, pageOf } from '../app.ts';
import type { CoreContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import { zoneShape } from '../shapes.ts';
import { untilLive } from '../store.ts';
import { createZone, listZones } from '../zones.ts';

/** The account's zone with this id. Throws ApiError 7003, the same for zones of others. */
export async function requireZone(context: CoreContext, account: Account, id: string): Promise<Zone> {
  const zone = (await listZones(context.ledger, account.id)).find((each) => each.id === id);
  if (!zone) throw new ApiError(7003, `Could not route to /zones/${id}, perhaps your object identifier is invalid?`);
  return zone;
}

export function registerZones(app: App, context: CoreContext): void {
  const ListQuery = Paging.extend({
    name: z.string().max(253).optional(),
    'account.id': z.string().max(64).optional(),
    'account.name': z.string().max(100).optional(),
    status: z.string().max(32).optional(),
  });
  define(
    app,
    context,
    { method: 'get', path: '/zones', summary: 'Lists zones', query: ListQuery },
    async ({ account, query }) => {
      const { name, status, 'account.id': id, 'account.name': accountName } = query;
      const zones = (await listZones(context.ledger, account.id)).filter(
        (zone) =>
          (name === undefined || zone.name === name.toLowerCase()) &&
          (id === undefined || id === account.id) &&
          (accountName === undefined || accountName === account.name) &&
          (status === undefined || status === 'active'),
      );
      return pageOf(
        zones.map((zone) => zoneShape(zone, account)),
        query,
      );
    },
  );

  const NewZone = z.object({
    name: z.string().min(1).max(253),
    account: z.object({ id: z.string() }).loose().optional(),
    type: z.string().optional(),
    jump_start: z.boolean().optional(),
  });
  define(
    app,
    context,
    { method: 'post', path: '/zones', summary: 'Creates a zone', body: NewZone },
    async ({ account, body }) => {
      if (body.account && body.account.id !== account.id) {
        throw new ApiError(9109, 'Unauthorized to access requested resource');
      }
      const zone = await createZone(
        context.ledger,
        { accountId: account.id, name: body.name },
        context.settings.workersDomain,
      );
      await untilLive(context, await context.ledger.sequence());
      return zoneShape(zone, account);
    },
  );

  define(app, context, { method: 'get', path: '/zones/{zone_id}', summary: 'One zone' }, async ({ account, params }) =>
    zoneShape(await requireZone(context, account, params.zone_id!), account),
  );
}
