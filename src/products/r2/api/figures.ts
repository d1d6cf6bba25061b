/** What a bucket holds, as `wrangler r2 bucket info` asks for it, and what an account's buckets used. */
import { z } from '@hono/zod-openapi';
import { type App, define } from '../../../core/app.ts';
import type { CoreContext } from '../../../core/context.ts';
import type { GraphqlHandler } from '../../../core/endpoints/graphql.ts';

const Day = z.string().regex(/^\d{4}-\d\d-\d\d$/, 'a day as YYYY-MM-DD is expected');

export function r2Figures({ r2 }: CoreContext): Record<string, GraphqlHandler> {
  return {
    async getR2StorageMetrics(account, { filter }) {
      const name = String((filter as { bucketName?: string } | undefined)?.bucketName ?? '').replace(
        /^(eu|fedramp)_/,
        '',
      );
      const bucket = await r2.buckets.find(account.id, name);
      const holds = bucket && r2.usage.holds(bucket.id);
      if (!holds) return { r2StorageAdaptiveGroups: [] };
      const max = { objectCount: holds.objects, payloadSize: holds.storedBytes, metadataSize: 0 };
      return { r2StorageAdaptiveGroups: [{ max, dimensions: { datetime: new Date().toISOString() } }] };
    },
  };
}

export function registerR2Usage(app: App, context: CoreContext): void {
  const { buckets, usage } = context.r2;
  define(
    app,
    context,
    {
      method: 'get',
      path: '/selvedge/r2/usage',
      summary: 'Operations and bytes of R2 buckets by UTC day, and what they hold; egress costs nothing',
      query: z.object({ from: Day.optional(), to: Day.optional() }),
    },
    async ({ account, query }) => ({
      rows: usage.read({ accountId: account.id, ...query }).map((row) => ({
        bucket: row.name,
        day: row.day,
        class_a_operations: row.classA,
        class_b_operations: row.classB,
        ingress_bytes: row.ingressBytes,
        egress_bytes: row.egressBytes,
        egress_price: 0,
      })),
      buckets: (await buckets.list(account.id)).map(({ id, name }) => {
        const holds = usage.holds(id);
        return { bucket: name, objects: holds?.objects ?? 0, stored_bytes: holds?.storedBytes ?? 0 };
      }),
    }),
  );
}
