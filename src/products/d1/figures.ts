/** What `wrangler d1 info` and `d1 insights` ask of the analytics, from the metering of queries and rows. */
import { z } from 'zod';
import type { GraphqlHandler } from '../../core/endpoints/graphql.ts';
import type { Requests } from '../../model/messages.ts';
import type { Bus } from '../../state/bus.ts';

const Variables = z.object({
  filter: z.object({
    AND: z
      .array(
        z.object({
          datetimeHour_geq: z.iso.datetime(),
          datetimeHour_leq: z.iso.datetime(),
          databaseId: z.string().max(64).optional(),
        }),
      )
      .min(1),
  }),
});

export function d1Figures(bus: Bus): Record<string, GraphqlHandler> {
  return {
    async getD1MetricsOverviewQuery(account, variables) {
      const parsed = Variables.safeParse(variables);
      if (!parsed.success) return { d1AnalyticsAdaptiveGroups: [] };
      const { datetimeHour_geq: from, datetimeHour_leq: to, databaseId } = parsed.data.filter.AND[0]!;
      const asked: Requests['pop.product-usage'][0] = {
        product: 'd1',
        accountId: account.id,
        ...(databaseId !== undefined && { resource: databaseId }),
        from: from.slice(0, 13),
        to: to.slice(0, 13),
      };
      const rows: Requests['pop.product-usage'][1] = await bus.request('pop.product-usage', asked);
      const groups = rows.map(({ resource, hour, amounts }) => {
        const { readQueries = 0, writeQueries = 0, rowsRead = 0, rowsWritten = 0 } = amounts;
        return {
          sum: { readQueries, writeQueries, rowsRead, rowsWritten },
          dimensions: { datetimeHour: `${hour}:00:00Z`, databaseId: resource },
        };
      });
      return { d1AnalyticsAdaptiveGroups: groups };
    },
    // Statements are counted, but not by their text.
    getD1QueriesOverviewQuery: async () => ({ d1QueriesAdaptiveGroups: [] }),
  };
}
