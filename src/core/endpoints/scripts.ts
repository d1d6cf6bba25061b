/** Workers: list, upload (PUT: a version and its deployment in one), read, delete, and the settings that are not of a version. */
import { z } from '@hono/zod-openapi';
import { releaseConsumer } from '../../products/queues/references.ts';
import { type App, define, pageOf, WholeList } from '../app.ts';
import { readBody } from '../body.ts';
import type { CoreContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import { referencesTo } from '../references.ts';
import { serialized } from '../serialize.ts';
import { scriptShape, shownSettings } from '../shapes.ts';
import {
  addVersion,
  clearLeftovers,
  deleteScript,
  deploy,
  findScript,
  isScriptName,
  latestVersion,
  listScripts,
  requireScript,
  untilLive,
  updateScript,
} from '../store.ts';
import { contentOf } from '../upload/content.ts';
import { createVersion } from '../upload/create-version.ts';
import { MAX_UPLOAD_BYTES } from '../upload/form.ts';

export const SCRIPTS = '/accounts/{account_id}/workers/scripts';
export const SCRIPT = `${SCRIPTS}/{script_name}`;

/** The part of an account's Worker that writers queue for. */
export const lockOf = (accountId: string, name: string) => `script/${accountId}/${name}`;

/** Reads an upload wholly before anything waits for it: a slow client holds up nobody. */
export async function bufferedUpload(request: Request): Promise<Request> {
  const body = await readBody(request, MAX_UPLOAD_BYTES);
  return new Request(request.url, { method: 'POST', headers: request.headers, body });
}

export function registerScripts(app: App, context: CoreContext): void {
  define(
    app,
    context,
    { method: 'get', path: SCRIPTS, summary: 'Lists Workers', query: WholeList },
    async ({ account, query }) => {
      const shown = [];
      for (const script of await listScripts(context, account.id)) {
        shown.push(scriptShape(script, await latestVersion(context, script)));
      }
      return pageOf(shown, query);
    },
  );

  define(
    app,
    context,
    {
      method: 'put',
      path: SCRIPT,
      summary: 'Uploads a version of a Worker and deploys it; makes the Worker if there is none',
      rawBody: 'multipart/form-data',
    },
    async ({ c, account, params }) => {
      const name = params.script_name!;
      requireScriptName(name);
      const request = await bufferedUpload(c.req.raw);
      return serialized(lockOf(account.id, name), async () => {
        const before = await findScript(context, account.id, name);
        if (!before) await clearLeftovers(context, account.id, name);
        const { version: made, metadata, objects } = await createVersion(context, account, name, before, request);
        const { script, version } = await addVersion(context, made, (current) => ({
          ...current,
          tags: metadata.tags ?? current.tags,
          observability: metadata.observability === undefined ? current.observability : metadata.observability,
          logpush: metadata.logpush ?? current.logpush,
          migrationTag: objects.migrationTag,
          ...(objects.objects && { objects: objects.objects }),
        }));
        const { revision } = await deploy(
          context,
          account.id,
          name,
          [{ versionId: version.id, percentage: 100 }],
          version.annotations,
        );
        await untilLive(context, revision);
        for (const id of objects.deleted) await context.objectFiles.remove(script.objects!.storage, id);
        return {
          ...scriptShape(script, version),
          // wrangler prints this one as the "Current Version ID".
          deployment_id: version.id,
          startup_time_ms: version.startupTimeMs,
        };
      });
    },
  );

  for (const path of [SCRIPT, `${SCRIPT}/content`, `${SCRIPT}/content/v2`]) {
    define(app, context, { method: 'get', path, summary: 'The modules of the latest version' }, async (call) => {
      const script = await requireScript(context, call.account, call.params.script_name!);
      const version = await latestVersion(context, script);
      if (!version) throw new ApiError(10222, `The Worker ${script.name} has no version yet.`);
      return contentOf(context, version);
    });
  }

  const services = '/accounts/{account_id}/workers/services/{script_name}';
  for (const path of [SCRIPT, services]) {
    define(
      app,
      context,
      {
        method: 'delete',
        path,
        summary: 'Deletes a Worker with its versions, deployments, routes and custom domains',
        query: z.object({ force: z.enum(['true', 'false']).default('false') }),
      },
      async ({ account, params, query }) => {
        const name = params.script_name!;
        return serialized(lockOf(account.id, name), async () => {
          const script = await requireScript(context, account, name);
          const references = await referencesTo(context, account.id, name);
          const users = query.force === 'true' ? [] : Object.values(references).flat();
          if (users.length > 0) {
            throw new ApiError(
              10059,
              `${name} is bound by ${users.map(({ service }) => service).join(', ')}: remove these bindings or delete with force=true.`,
            );
          }
          await releaseConsumer(context, account.id, name, query.force === 'true');
          await untilLive(context, await deleteScript(context, script));
          if (script.objects) await context.objectFiles.remove(script.objects.storage, null);
          return { id: name };
        });
      },
    );
  }

  define(
    app,
    context,
    { method: 'get', path: `${SCRIPT}/settings`, summary: 'Settings of the latest version' },
    async (call) => {
      const script = await requireScript(context, call.account, call.params.script_name!);
      return shownSettings(script, await latestVersion(context, script));
    },
  );

  const shownScriptSettings = (script: Awaited<ReturnType<typeof requireScript>>) => ({
    logpush: script.logpush,
    observability: script.observability,
    tags: script.tags,
    tail_consumers: script.tailConsumers,
  });
  define(
    app,
    context,
    { method: 'get', path: `${SCRIPT}/script-settings`, summary: 'Settings that hold for all versions' },
    async ({ account, params }) => shownScriptSettings(await requireScript(context, account, params.script_name!)),
  );
  const ScriptSettings = z
    .object({
      logpush: z.boolean().nullish(),
      observability: z.record(z.string().max(64), z.unknown()).nullish(),
      tags: z.array(z.string().max(256)).max(20).nullish(),
      tail_consumers: z.array(z.unknown()).nullish(),
    })
    .loose();
  define(
    app,
    context,
    {
      method: 'patch',
      path: `${SCRIPT}/script-settings`,
      summary: 'Changes settings that hold for all versions',
      body: ScriptSettings,
    },
    async ({ account, params, body }) => {
      if (body.tail_consumers?.length) {
        throw new ApiError(
          10058,
          'This Selvedge has no Tail Workers yet: remove tail_consumers from the configuration.',
        );
      }
      const { script } = await updateScript(context, account, params.script_name!, (current) => ({
        ...current,
        logpush: body.logpush ?? current.logpush,
        observability: body.observability === undefined ? current.observability : body.observability,
        tags: body.tags === undefined ? current.tags : (body.tags ?? []),
      }));
      return shownScriptSettings(script);
    },
  );
}

/** Throws ApiError 10016. */
export function requireScriptName(name: string): void {
  if (isScriptName(name)) return;
  throw new ApiError(
    10016,
    `${JSON.stringify(name.slice(0, 80))} is not a valid Worker name: 1 to 63 lower-case letters, digits, dashes and underscores, no dash at either end.`,
  );
}
