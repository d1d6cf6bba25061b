/** Routes: of a zone, one by one, and of a Worker, as the whole list that wrangler puts. */
import { z } from '@hono/zod-openapi';
import type { Account, Route, Zone } from '../../model/documents.ts';
import { keys } from '../../model/keys.ts';
import { LIMITS } from '../../model/limits.ts';
import { type Entry, RevisionConflict } from '../../state/ledger.ts';
import { newId } from '../accounts.ts';
import { type App, define } from '../app.ts';
import type { CoreContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import { parseRoutePattern, zoneFor } from '../route-pattern.ts';
import { serialized } from '../serialize.ts';
import { routeShape } from '../shapes.ts';
import { requireScript, untilLive } from '../store.ts';
import { isUnder } from '../zones.ts';
import { requireZone } from './zones.ts';

const ROUTES_PER_PUT = 1000;

export function registerRoutes(app: App, context: CoreContext): void {
  const { ledger } = context;
  const ofZone = '/zones/{zone_id}/workers/routes';
  const ofScript = '/accounts/{account_id}/workers/scripts/{script_name}/routes';
  const OneRoute = z.object({ pattern: z.string().min(1).max(2048), script: z.string().max(255).nullish() });

  define(
    app,
    context,
    { method: 'get', path: ofZone, summary: 'Lists the routes of a zone' },
    async ({ account, params }) => {
      const zone = await requireZone(context, account, params.zone_id!);
      return (await ledger.list<Route>(keys.routes(zone.id))).map(({ value }) => routeShape(value));
    },
  );

  define(
    app,
    context,
    { method: 'post', path: ofZone, summary: 'Creates a route', body: OneRoute },
    async ({ account, params, body }) => {
      const zone = await requireZone(context, account, params.zone_id!);
      return serialized(`routes/${account.id}`, async () => routeShape(await writeRoute(context, account, zone, body)));
    },
  );

  const one = `${ofZone}/{route_id}`;
  define(app, context, { method: 'get', path: one, summary: 'One route' }, async ({ account, params }) => {
    const zone = await requireZone(context, account, params.zone_id!);
    return routeShape((await requireRoute(context, zone, params.route_id!)).value);
  });

  define(
    app,
    context,
    { method: 'put', path: one, summary: 'Changes a route', body: OneRoute },
    async ({ account, params, body }) => {
      const zone = await requireZone(context, account, params.zone_id!);
      return serialized(`routes/${account.id}`, async () => {
        const entry = await requireRoute(context, zone, params.route_id!);
        const route = await writeRoute(context, account, zone, body, entry.value);
        if (keys.route(zone.id, route.pattern) !== entry.key) await ledger.delete(entry.key);
        await untilLive(context, await ledger.sequence());
        return routeShape(route);
      });
    },
  );

  define(app, context, { method: 'delete', path: one, summary: 'Deletes a route' }, async ({ account, params }) => {
    const zone = await requireZone(context, account, params.zone_id!);
    const entry = await requireRoute(context, zone, params.route_id!);
    await ledger.delete(entry.key);
    await untilLive(context, await ledger.sequence());
    return { id: entry.value.id };
  });

  define(
    app,
    context,
    { method: 'get', path: ofScript, summary: 'Lists the routes of a Worker' },
    async ({ account, params }) => {
      const script = await requireScript(context, account, params.script_name!);
      return (await routesOf(context, account, script.name)).map(({ value }) => routeShape(value));
    },
  );

  const Wanted = z
    .object({ pattern: z.string().min(1).max(2048), zone_id: z.string().optional(), zone_name: z.string().optional() })
    .loose();
  const List = z.array(z.union([z.string().transform((pattern) => ({ pattern })), Wanted])).max(ROUTES_PER_PUT);
  define(
    app,
    context,
    { method: 'put', path: ofScript, summary: 'Replaces the routes of a Worker', body: List },
    async ({ account, params, body }) => {
      const script = await requireScript(context, account, params.script_name!);
      return serialized(`routes/${account.id}`, async () => {
        // All are checked before the first is written.
        const wanted = new Map<string, { zone: Zone; pattern: string }>();
        for (const item of body as z.output<typeof Wanted>[]) {
          const { pattern, sampleHost } = parseRoutePattern(item.pattern);
          const zone = await zoneFor(ledger, account.id, sampleHost, item);
          await refuseConflict(context, zone, pattern, script.name);
          wanted.set(keys.route(zone.id, pattern), { zone, pattern });
        }
        const written: Route[] = [];
        for (const { zone, pattern } of wanted.values()) {
          written.push(await writeRoute(context, account, zone, { pattern, script: script.name }));
        }
        for (const { key } of await routesOf(context, account, script.name)) {
          if (!wanted.has(key)) await ledger.delete(key);
        }
        await untilLive(context, await ledger.sequence());
        return written.map(routeShape);
      });
    },
  );
}

async function routesOf({ ledger }: CoreContext, account: Account, script: string): Promise<Entry<Route>[]> {
  const all = await ledger.list<Route>(keys.routes());
  return all.filter(({ value }) => value.accountId === account.id && value.script === script);
}

async function requireRoute({ ledger }: CoreContext, zone: Zone, id: string): Promise<Entry<Route>> {
  const entry = (await ledger.list<Route>(keys.routes(zone.id))).find(({ value }) => value.id === id);
  if (!entry) throw new ApiError(10009, `There is no route ${id} in the zone ${zone.name}.`);
  return entry;
}

/** Throws ApiError 10020 if the pattern is taken by another Worker (or by a route without one). */
async function refuseConflict(
  { ledger }: CoreContext,
  zone: Zone,
  pattern: string,
  script: string | null,
): Promise<void> {
  const there = (await ledger.get<Route>(keys.route(zone.id, pattern)))?.value;
  if (!there || there.script === script) return;
  throw new ApiError(
    10020,
    `A route with the same pattern already exists: ${pattern} belongs to ${there.script === null ? 'no Worker' : `Worker ${there.script}`}.`,
  );
}

/** Checks and writes one route; `replaces` is the route whose id it keeps. */
async function writeRoute(
  context: CoreContext,
  account: Account,
  zone: Zone,
  wanted: { pattern: string; script?: string | null | undefined },
  replaces?: Route,
): Promise<Route> {
  const { ledger } = context;
  const { pattern, sampleHost } = parseRoutePattern(wanted.pattern);
  const script = wanted.script ? wanted.script : null;
  if (!isUnder(sampleHost, zone.name)) {
    throw new ApiError(10082, `The host of ${pattern} does not lie in the zone ${zone.name}.`);
  }
  if (script !== null) await requireScript(context, account, script);
  const key = keys.route(zone.id, pattern);
  const entry = await ledger.get<Route>(key);
  if (entry && entry.value.id !== replaces?.id) {
    await refuseConflict(context, zone, pattern, script);
    return entry.value;
  }
  const inZone = await ledger.list(keys.routes(zone.id), { limit: LIMITS.routesPerZone });
  if (!entry && inZone.length >= LIMITS.routesPerZone) {
    throw new ApiError(10023, `The zone ${zone.name} has ${LIMITS.routesPerZone} routes, the most that it may have.`);
  }
  const route: Route = {
    id: replaces?.id ?? newId(),
    zoneId: zone.id,
    zoneName: zone.name,
    accountId: account.id,
    pattern,
    script,
  };
  try {
    await ledger.put(key, route, entry?.revision ?? 0);
  } catch (error) {
    if (error instanceof RevisionConflict)
      throw new ApiError(10005, `The route ${pattern} is being changed by somebody else.`);
    throw error;
  }
  return route;
}
