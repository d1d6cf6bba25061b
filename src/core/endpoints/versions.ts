/** Versions and deployments of a Worker. */
import { z } from '@hono/zod-openapi';
import type { Script } from '../../model/documents.ts';
import { checkDeployable } from '../../products/durable-objects/upload.ts';
import { type App, define, pageOf, reply } from '../app.ts';
import type { CoreContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import { cloneLatest, SecretChange } from '../secret-versions.ts';
import { serialized } from '../serialize.ts';
import { deploymentShape, versionShape } from '../shapes.ts';
import {
  addVersion,
  deploy,
  listDeployments,
  listVersions,
  requireScript,
  requireVersion,
  untilLive,
} from '../store.ts';
import { createVersion } from '../upload/create-version.ts';
import { readUpload } from '../upload/form.ts';
import { lockOf, SCRIPT } from './scripts.ts';

/** What wrangler shows; older ones stay readable by their id. */
const DEPLOYMENTS_SHOWN = 10;

export function registerVersions(app: App, context: CoreContext): void {
  const versions = `${SCRIPT}/versions`;
  const deployments = `${SCRIPT}/deployments`;

  define(
    app,
    context,
    {
      method: 'post',
      path: versions,
      summary: 'Uploads a version without deploying it',
      rawBody: 'multipart/form-data',
    },
    async ({ c, account, params }) => {
      const name = params.script_name!;
      const form = await readUpload(c.req.raw);
      return serialized(lockOf(account.id, name), async () => {
        const before = await requireScript(context, account, name);
        const { version: made, metadata } = await createVersion(context, account, name, before, form);
        if (metadata.migrations) {
          throw new ApiError(
            10211,
            'Migrations of Durable Objects cannot be part of a version that is not deployed: use wrangler deploy.',
          );
        }
        const { script, version, revision } = await addVersion(context, made);
        // A preview URL may be asked at once.
        await untilLive(context, revision);
        return versionShape(version, script);
      });
    },
  );

  const ListQuery = z.object({
    deployable: z.enum(['true', 'false']).optional(),
    page: z.coerce.number().int().min(1).default(1),
    per_page: z.coerce.number().int().min(1).max(100).default(10),
  });
  define(
    app,
    context,
    { method: 'get', path: versions, summary: 'Lists versions, newest first', query: ListQuery },
    async ({ account, params, query }) => {
      const script = await requireScript(context, account, params.script_name!);
      const all = (await listVersions(context, script)).map((version) => versionShape(version, script));
      const page = pageOf(all, query);
      return reply({ items: page.result }, page.info ? { info: page.info } : {});
    },
  );

  define(
    app,
    context,
    { method: 'get', path: `${versions}/{version_id}`, summary: 'One version' },
    async ({ account, params }) => {
      const script = await requireScript(context, account, params.script_name!);
      return versionShape(await requireVersion(context, script, params.version_id!), script);
    },
  );

  define(
    app,
    context,
    { method: 'get', path: deployments, summary: 'The newest deployments, the active one first' },
    async ({ account, params }) => {
      const script = await requireScript(context, account, params.script_name!);
      // wrangler reads each version of each deployment: those with a version that is pruned are history only.
      const known = new Set((await listVersions(context, script)).map(({ id }) => id));
      const shown = (await listDeployments(context, script)).filter((each) =>
        each.versions.every(({ versionId }) => known.has(versionId)),
      );
      return { deployments: shown.slice(0, DEPLOYMENTS_SHOWN).map(deploymentShape) };
    },
  );

  define(
    app,
    context,
    { method: 'get', path: `${deployments}/{deployment_id}`, summary: 'One deployment' },
    async ({ account, params }) => {
      const script = await requireScript(context, account, params.script_name!);
      const found = (await listDeployments(context, script)).find(({ id }) => id === params.deployment_id);
      if (!found) throw new ApiError(10212, `The deployment ${params.deployment_id} does not exist on ${script.name}.`);
      return deploymentShape(found);
    },
  );

  const NewDeployment = z
    .object({
      strategy: z.literal('percentage').default('percentage'),
      versions: z
        .array(z.object({ version_id: z.string(), percentage: z.number().min(0).max(100) }))
        .min(1)
        .max(2),
      annotations: z.record(z.string().max(64), z.string().max(1000)).default({}),
    })
    .loose();
  define(
    app,
    context,
    {
      method: 'post',
      path: deployments,
      summary: 'Gives one or two versions their shares of the traffic',
      query: z.object({ force: z.enum(['true', 'false']).optional() }),
      body: NewDeployment,
    },
    async ({ account, params, body }) => {
      const name = params.script_name!;
      return serialized(lockOf(account.id, name), async () => {
        const script = await requireScript(context, account, name);
        const shares = await checkShares(context, script, body.versions);
        const annotations = { 'workers/triggered_by': 'deployment', ...body.annotations };
        const { deployment, revision } = await deploy(context, account.id, name, shares, annotations);
        await untilLive(context, revision);
        return deploymentShape(deployment);
      });
    },
  );

  // wrangler versions secret put|bulk|delete
  const LatestPatch = z
    .object({
      env: z.record(z.string().min(1).max(256), SecretChange.nullable()).default({}),
      annotations: z.record(z.string().max(64), z.string().max(1000)).default({}),
    })
    .loose();
  define(
    app,
    context,
    {
      method: 'patch',
      path: '/accounts/{account_id}/workers/workers/{script_name}/versions/latest',
      summary: 'A new version from the latest one with other secrets, not deployed (JSON merge patch)',
      body: LatestPatch,
    },
    async ({ account, params, body }) => {
      const name = params.script_name!;
      return serialized(lockOf(account.id, name), async () => {
        const { script, version, revision } = await cloneLatest(context, account, name, body.env, {
          'workers/triggered_by': 'secret',
          ...body.annotations,
        });
        await untilLive(context, revision);
        return versionShape(version, script);
      });
    },
  );
}

async function checkShares(context: CoreContext, script: Script, given: { version_id: string; percentage: number }[]) {
  const sum = given.reduce((total, { percentage }) => total + percentage, 0);
  if (Math.abs(sum - 100) > 0.001)
    throw new ApiError(10211, `The percentages of a deployment must add up to 100; these are ${sum}.`);
  if (new Set(given.map(({ version_id }) => version_id)).size < given.length) {
    throw new ApiError(10211, 'A deployment names each version once.');
  }
  const versions = [];
  for (const { version_id } of given) versions.push(await requireVersion(context, script, version_id));
  checkDeployable(script, versions);
  return versions.map(({ id }, index) => ({ versionId: id, percentage: given[index]!.percentage }));
}
