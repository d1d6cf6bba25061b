/**
 * Secrets of a Worker. They are bindings of a version, sealed: putting one makes a version from the latest and deploys it. No answer
 * of this API holds a secret's value.
 */
import { z } from '@hono/zod-openapi';
import type { Account, Script } from '../../model/documents.ts';
import { type App, define } from '../app.ts';
import type { CoreContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import { cloneLatest, SecretChange, type SecretChanges } from '../secret-versions.ts';
import { serialized } from '../serialize.ts';
import { deploy, latestVersion, requireScript, untilLive } from '../store.ts';
import { lockOf, SCRIPT } from './scripts.ts';

const Name = z.string().min(1).max(256);

export function registerSecrets(app: App, context: CoreContext): void {
  const secrets = `${SCRIPT}/secrets`;

  define(app, context, { method: 'get', path: secrets, summary: 'Names of the secrets' }, async ({ account, params }) =>
    secretsOf(context, await requireScript(context, account, params.script_name!)),
  );

  define(
    app,
    context,
    { method: 'get', path: `${secrets}/{secret_name}`, summary: 'One secret: name and type' },
    async ({ account, params }) => {
      const script = await requireScript(context, account, params.script_name!);
      const secret = (await secretsOf(context, script)).find(({ name }) => name === params.secret_name);
      if (!secret) throw new ApiError(10056, `There is no secret ${params.secret_name} on ${script.name}.`);
      return secret;
    },
  );

  define(
    app,
    context,
    {
      method: 'put',
      path: secrets,
      summary: 'Sets a secret: a new version, deployed',
      body: SecretChange.extend({ name: Name }),
    },
    async ({ account, params, body }) => {
      await apply(context, account, params.script_name!, { [body.name]: body });
      return { name: body.name, type: 'secret_text' };
    },
  );

  define(
    app,
    context,
    {
      method: 'delete',
      path: `${secrets}/{secret_name}`,
      summary: 'Deletes a secret: a new version, deployed',
      query: z.object({ url_encoded: z.enum(['true', 'false']).optional() }),
    },
    async ({ account, params }) => {
      await apply(context, account, params.script_name!, { [params.secret_name!]: null });
      return null;
    },
  );

  define(
    app,
    context,
    {
      method: 'patch',
      path: `${SCRIPT}/secrets-bulk`,
      summary: 'Sets and deletes (null) several secrets at once: one new version, deployed',
      body: z.object({ secrets: z.record(Name, SecretChange.nullable()) }),
    },
    async ({ account, params, body }) => {
      await apply(context, account, params.script_name!, body.secrets);
      return secretsOf(context, await requireScript(context, account, params.script_name!));
    },
  );
}

async function apply(context: CoreContext, account: Account, name: string, changes: SecretChanges): Promise<void> {
  await serialized(lockOf(account.id, name), async () => {
    const script = await requireScript(context, account, name);
    // Otherwise a secret would bring code live that nobody deployed.
    const live = script.deployment?.versions ?? [];
    if (script.latestVersionId !== null && (live.length !== 1 || live[0]!.versionId !== script.latestVersionId)) {
      throw new ApiError(
        10215,
        "The latest version of this Worker isn't currently deployed: deploy it, then change its secrets.",
      );
    }
    const annotations = { 'workers/triggered_by': 'secret' };
    const { version } = await cloneLatest(context, account, name, changes, annotations);
    const shares = [{ versionId: version.id, percentage: 100 }];
    const { revision } = await deploy(context, account.id, name, shares, annotations);
    await untilLive(context, revision);
  });
}

async function secretsOf(context: CoreContext, script: Script): Promise<{ name: string; type: string }[]> {
  const bindings = (await latestVersion(context, script))?.bindings ?? [];
  return bindings.filter(({ type }) => type === 'secret_text').map(({ name, type }) => ({ name, type }));
}
