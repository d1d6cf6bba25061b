/** A Worker as "service" and in the newer `workers/workers` form, and what `wrangler delete` asks before it deletes. */

import type { Route, Script } from '../../model/documents.ts';
import { keys } from '../../model/keys.ts';
import { type App, define, Paging, pageOf } from '../app.ts';
import type { CoreContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import { referencesTo } from '../references.ts';
import { routeShape, scriptShape, versionShape } from '../shapes.ts';
import { findScript, latestVersion, requireScript } from '../store.ts';
import { shownBinding } from '../upload/bindings.ts';
import { contentOf } from '../upload/content.ts';
import { SCRIPT } from './scripts.ts';
import { subdomainShape, workerHosts } from './triggers.ts';

export function registerServices(app: App, context: CoreContext): void {
  const account = '/accounts/{account_id}';
  const service = `${account}/workers/services/{script_name}`;
  const environment = `${service}/environments/{environment}`;
  const environmentShape = (script: Script) => ({
    environment: 'production',
    created_on: script.createdOn,
    modified_on: script.modifiedOn,
  });

  define(
    app,
    context,
    { method: 'get', path: service, summary: 'One Worker as a service' },
    async ({ account, params }) => {
      const script = await findScript(context, account.id, params.script_name!);
      // wrangler takes this code for "not deployed yet".
      if (!script) throw new ApiError(10090, 'This Worker does not exist on your account.');
      const environment = {
        ...environmentShape(script),
        script: scriptShape(script, await latestVersion(context, script)),
      };
      return {
        id: script.name,
        default_environment: environment,
        environments: [environmentShape(script)],
        created_on: script.createdOn,
        modified_on: script.modifiedOn,
      };
    },
  );

  define(
    app,
    context,
    { method: 'get', path: environment, summary: 'The one environment' },
    async ({ account, params }) => {
      const script = await requireEnvironment(params);
      return { ...environmentShape(script), script: scriptShape(script, await latestVersion(context, script)) };

      async function requireEnvironment({ script_name, environment }: Record<string, string>) {
        if (environment !== 'production') throw new ApiError(10007, `There is no environment ${environment}.`);
        return requireScript(context, account, script_name!);
      }
    },
  );
  const bits: Record<string, (script: Script) => unknown> = {
    bindings: async (script) => ((await latestVersion(context, script))?.bindings ?? []).map(shownBinding),
    routes: async (script) => {
      const routes = (await context.ledger.list<Route>(keys.routes())).map(({ value }) => value);
      return routes
        .filter((each) => each.accountId === script.accountId && each.script === script.name)
        .map(routeShape);
    },
    subdomain: (script) => subdomainShape(script),
    'content/v2': async (script) => {
      const version = await latestVersion(context, script);
      if (!version) throw new ApiError(10222, `The Worker ${script.name} has no version yet.`);
      return contentOf(context, version);
    },
  };
  for (const [bit, read] of Object.entries(bits)) {
    define(
      app,
      context,
      { method: 'get', path: `${environment}/${bit}`, summary: `The Worker's ${bit}` },
      async ({ account, params }) => {
        if (params.environment !== 'production')
          throw new ApiError(10007, `There is no environment ${params.environment}.`);
        return read(await requireScript(context, account, params.script_name!));
      },
    );
  }

  const worker = `${account}/workers/workers/{script_name}`;
  define(app, context, { method: 'get', path: worker, summary: 'One Worker' }, async ({ account, params }) => {
    const script = await requireScript(context, account, params.script_name!);
    return {
      id: script.tag,
      name: script.name,
      created_on: script.createdOn,
      updated_on: script.modifiedOn,
      logpush: script.logpush,
      observability: script.observability,
      tags: script.tags,
      tail_consumers: script.tailConsumers,
      subdomain: { ...subdomainShape(script), ...workerHosts(context, account, script) },
    };
  });
  define(
    app,
    context,
    { method: 'get', path: `${worker}/versions/latest`, summary: 'The latest version' },
    async ({ account, params }) => {
      const script = await requireScript(context, account, params.script_name!);
      const version = await latestVersion(context, script);
      if (!version) throw new ApiError(10222, `The Worker ${script.name} has no version yet.`);
      return versionShape(version, script);
    },
  );

  define(
    app,
    context,
    { method: 'get', path: `${SCRIPT}/references`, summary: 'Who uses this Worker' },
    async ({ account, params }) => {
      const script = await requireScript(context, account, params.script_name!);
      const bindings = (await latestVersion(context, script))?.bindings ?? [];
      const outgoing = bindings.flatMap((each) =>
        each.type === 'service' ? [{ service: each.service, environment: 'production', name: each.name }] : [],
      );
      const { services: incoming, durable_objects } = await referencesTo(context, account.id, script.name);
      return { services: { incoming, outgoing }, durable_objects, dispatch_outbounds: [] };
    },
  );

  // Products that are not here yet have nothing to list; to create one is refused by its name.
  const empty = [
    [`${account}/workers/tails/by-consumer/{script_name}`, 'Workers that send their traces to this one: none'],
  ] as const;
  for (const [path, summary] of empty) {
    define(app, context, { method: 'get', path, summary, query: Paging.loose() }, ({ query }) =>
      pageOf([], { page: query.page, per_page: query.per_page }),
    );
  }
}
