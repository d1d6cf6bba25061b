/** Origins of hosts over the API. Cloudflare has DNS records in this place; the paths are Selvedge's own. */
import { z } from '@hono/zod-openapi';
import { type App, define } from '../app.ts';
import type { CoreContext } from '../context.ts';
import { listOrigins, removeOrigin, setOrigin } from '../origins.ts';
import { serialized } from '../serialize.ts';
import { originShape } from '../shapes.ts';
import { untilLive } from '../store.ts';
import { requireZone } from './zones.ts';

export function registerOrigins(app: App, context: CoreContext): void {
  const { ledger } = context;
  const all = '/zones/{zone_id}/selvedge/origins';
  const one = `${all}/{hostname}`;

  define(
    app,
    context,
    { method: 'get', path: all, summary: 'Lists where the origins of hosts are' },
    async ({ account, params }) =>
      (await listOrigins(ledger, await requireZone(context, account, params.zone_id!))).map(originShape),
  );

  define(
    app,
    context,
    {
      method: 'put',
      path: one,
      summary: 'Says where the origin of a host is',
      body: z.object({ url: z.string().min(1).max(512) }),
    },
    async ({ account, params, body }) => {
      const zone = await requireZone(context, account, params.zone_id!);
      return serialized(`origins/${account.id}`, async () => {
        const origin = await setOrigin(ledger, zone, params.hostname!, body.url);
        await untilLive(context, await ledger.sequence());
        return originShape(origin);
      });
    },
  );

  define(
    app,
    context,
    { method: 'delete', path: one, summary: 'Lets DNS say where the origin of a host is' },
    async ({ account, params }) => {
      const zone = await requireZone(context, account, params.zone_id!);
      const { hostname } = await removeOrigin(ledger, zone, params.hostname!);
      await untilLive(context, await ledger.sequence());
      return { hostname };
    },
  );
}
