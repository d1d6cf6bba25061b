/** What makes a Worker run besides routes: its host under the workers domain, preview hosts, and cron triggers. */
import { z } from '@hono/zod-openapi';
import { cronError } from '../../model/cron.ts';
import type { Account, Schedule, Script } from '../../model/documents.ts';
import { LIMITS } from '../../model/limits.ts';
import { type App, define } from '../app.ts';
import type { CoreContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import { requireScript, updateScript } from '../store.ts';
import { SCRIPT } from './scripts.ts';

export const subdomainShape = ({ workersDev, previews }: Script) => ({
  enabled: workersDev,
  previews_enabled: previews,
});

/** The Worker's host under the workers domain, and what follows a version's or alias's name in preview hosts. */
export function workerHosts({ settings }: CoreContext, account: Account, { name }: Script) {
  const host = `${name}.${account.subdomain}.${settings.workersDomain}`;
  // wrangler reads a URL here, and shows its host name.
  return { url: `https://${host}`, preview_url_suffix: `-${host}` };
}

export function registerTriggers(app: App, context: CoreContext): void {
  define(
    app,
    context,
    { method: 'get', path: '/accounts/{account_id}/workers/subdomain', summary: "The account's subdomain" },
    ({ account }) => ({ subdomain: account.subdomain }),
  );

  const subdomain = `${SCRIPT}/subdomain`;
  define(app, context, { method: 'get', path: subdomain, summary: 'Is the Worker on its subdomain?' }, async (call) =>
    subdomainShape(await requireScript(context, call.account, call.params.script_name!)),
  );
  define(
    app,
    context,
    {
      method: 'post',
      path: subdomain,
      summary: 'Puts the Worker and its previews on their hosts, or takes them off',
      body: z.object({ enabled: z.boolean(), previews_enabled: z.boolean().nullish() }).loose(),
    },
    async ({ account, params, body }) => {
      const { script } = await updateScript(context, account, params.script_name!, (current) => ({
        ...current,
        workersDev: body.enabled,
        // Unsaid, previews follow the Worker's own host, as Cloudflare does it.
        previews: body.previews_enabled ?? body.enabled,
      }));
      return subdomainShape(script);
    },
  );
  define(
    app,
    context,
    { method: 'delete', path: subdomain, summary: 'Takes the Worker off its hosts' },
    async (call) => {
      const off = (current: Script) => ({ ...current, workersDev: false, previews: false });
      return subdomainShape((await updateScript(context, call.account, call.params.script_name!, off)).script);
    },
  );

  const schedules = `${SCRIPT}/schedules`;
  define(app, context, { method: 'get', path: schedules, summary: 'Cron triggers' }, async ({ account, params }) => ({
    schedules: (await requireScript(context, account, params.script_name!)).schedules.map(scheduleShape),
  }));
  define(
    app,
    context,
    {
      method: 'put',
      path: schedules,
      summary: 'Replaces the cron triggers',
      body: z.array(z.object({ cron: z.string().min(1).max(256) }).loose()).max(10_000),
    },
    async ({ account, params, body }) => {
      const crons = [...new Set(body.map(({ cron }) => cron.trim().replace(/\s+/g, ' ')))];
      if (crons.length > LIMITS.schedulesPerScript) {
        throw new ApiError(
          10072,
          `A Worker has at most ${LIMITS.schedulesPerScript} cron triggers; these are ${crons.length}.`,
        );
      }
      for (const cron of crons) {
        const why = cronError(cron);
        if (why) throw new ApiError(10100, `Invalid cron string ${JSON.stringify(cron)}: ${why}.`);
      }
      const now = new Date().toISOString();
      const { script } = await updateScript(context, account, params.script_name!, (current) => ({
        ...current,
        schedules: crons.map((cron) => {
          const there = current.schedules.find((each) => each.cron === cron);
          return there ?? { cron, createdOn: now, modifiedOn: now };
        }),
      }));
      return { schedules: script.schedules.map(scheduleShape) };
    },
  );
}

const scheduleShape = ({ cron, createdOn, modifiedOn }: Schedule) => ({
  cron,
  created_on: createdOn,
  modified_on: modifiedOn,
});
