/** What Cloudflare's API has no path for: the state of this machine and CPU usage, of the token's account only. */
import { z } from '@hono/zod-openapi';
import type { PopStatus } from '../../model/messages.ts';
import { NoResponder, RequestTimeout } from '../../state/bus.ts';
import type { Usage } from '../../state/usage.ts';
import { type App, define } from '../app.ts';
import type { CoreContext } from '../context.ts';
import { ApiError } from '../errors.ts';

export function registerSelvedge(app: App, context: CoreContext, usage: Pick<Usage, 'read'>): void {
  define(
    app,
    context,
    {
      method: 'get',
      path: '/selvedge/status',
      summary: "State of this machine and of the account's isolate processes",
    },
    async ({ account }) => {
      let status: PopStatus;
      try {
        status = (await context.bus.request('pop.status', {})) as PopStatus;
      } catch (error) {
        if (!(error instanceof NoResponder) && !(error instanceof RequestTimeout)) throw error;
        throw new ApiError(10004, 'The supervisor does not answer: try again.');
      }
      return { ...status, isolates: status.isolates.filter(({ accountId }) => accountId === account.id) };
    },
  );

  const Day = z.string().regex(/^\d{4}-\d{2}-\d{2}$/, 'a day as YYYY-MM-DD is expected');
  define(
    app,
    context,
    {
      method: 'get',
      path: '/selvedge/usage',
      summary: 'CPU time by Worker and UTC day',
      query: z.object({ script: z.string().max(255).optional(), from: Day.optional(), to: Day.optional() }),
    },
    ({ account, query }) => {
      const { script, from, to } = query;
      return usage
        .read({ accountId: account.id, ...(script && { script }), ...(from && { from }), ...(to && { to }) })
        .map((row) => ({ script: row.script, day: row.day, cpu_ms: row.cpuMs }));
    },
  );
}
