/** Metering and bills, of the token's account only. Cloudflare's API has no path for them. */
import { z } from '@hono/zod-openapi';
import { bill } from '../../model/prices.ts';
import { daysOfMonth, sumUsage, type UsageCounts } from '../../model/usage.ts';
import type { Usage } from '../../state/usage.ts';
import { type App, define } from '../app.ts';
import type { CoreContext } from '../context.ts';
import { ApiError } from '../errors.ts';

const Day = z.string().regex(/^\d{4}-\d\d-\d\d$/, 'a day as YYYY-MM-DD is expected');
const Month = z.string().regex(/^\d{4}-(0[1-9]|1[0-2])$/, 'a month as YYYY-MM is expected');

export function registerUsage(app: App, context: CoreContext, usage: Pick<Usage, 'read'>): void {
  define(
    app,
    context,
    {
      method: 'get',
      path: '/selvedge/usage',
      summary: 'Requests, CPU time, subrequests, bytes and duration by Worker and UTC day, with their totals',
      query: z.object({
        script: z.string().max(255).optional(),
        from: Day.optional(),
        to: Day.optional(),
        month: Month.optional(),
      }),
    },
    ({ account, query }) => {
      const { script, month } = query;
      const { from, to } = month ? daysOfMonth(month) : query;
      const rows = usage.read({
        accountId: account.id,
        ...(script && { script }),
        ...(from && { from }),
        ...(to && { to }),
      });
      return {
        rows: rows.map((row) => ({ script: row.script, day: row.day, ...usageShape(row) })),
        totals: usageShape(sumUsage(rows)),
      };
    },
  );

  const requirePrices = () => {
    const { prices } = context.settings;
    if (prices) return prices;
    throw new ApiError(10311, 'This Selvedge has no price sheet: its operator may set `prices` in the configuration.');
  };
  define(
    app,
    context,
    { method: 'get', path: '/selvedge/prices', summary: 'The price sheet of this Selvedge' },
    requirePrices,
  );
  define(
    app,
    context,
    {
      method: 'get',
      path: '/selvedge/bill',
      summary: 'What a month (UTC) costs by the price sheet; the current month so far',
      query: z.object({ month: Month.default(() => new Date().toISOString().slice(0, 7)) }),
    },
    ({ account, query: { month } }) =>
      bill(account.id, month, sumUsage(usage.read({ accountId: account.id, ...daysOfMonth(month) })), requirePrices()),
  );
}

function usageShape({ requests, errors, cpuMs, subrequests, egressBytes, ingressBytes, durationMs }: UsageCounts) {
  return {
    requests,
    errors,
    cpu_ms: cpuMs,
    subrequests,
    egress_bytes: egressBytes,
    ingress_bytes: ingressBytes,
    duration_ms: durationMs,
  };
}
