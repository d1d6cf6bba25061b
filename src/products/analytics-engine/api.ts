/** Analytics Engine's part of the v4 API: SQL over an account's datasets (https://developers.cloudflare.com/analytics/analytics-engine/sql-api/). */
import { z } from '@hono/zod-openapi';
import { type App, define } from '../../core/app.ts';
import { readBody } from '../../core/body.ts';
import type { CoreContext } from '../../core/context.ts';
import { ApiError } from '../../core/errors.ts';
import { ANALYTICS } from './limits.ts';
import { Busy } from './queries.ts';
import { QueryError } from './tokens.ts';

const PATH = '/accounts/{account_id}/analytics_engine/sql';

export function registerAnalytics(app: App, context: CoreContext): void {
  const answer = async (accountId: string, sql: string) => {
    try {
      const text = await context.queries.run(accountId, sql);
      const type = text.startsWith('{"meta":') ? 'application/json' : 'text/plain; charset=utf-8';
      return new Response(text, { headers: { 'content-type': type } });
    } catch (error) {
      if (error instanceof QueryError) throw new ApiError(10001, `query: ${error.message}`);
      if (error instanceof Busy) throw new ApiError(10004, error.message);
      throw error;
    }
  };

  define(
    app,
    context,
    { method: 'post', path: PATH, summary: 'Queries Analytics Engine; the body is SQL', rawBody: 'text/plain' },
    async ({ c, account }) => answer(account.id, (await readBody(c.req.raw, ANALYTICS.queryBytes)).toString()),
  );

  define(
    app,
    context,
    {
      method: 'get',
      path: PATH,
      summary: 'Queries Analytics Engine',
      query: z.object({ query: z.string().max(ANALYTICS.queryBytes) }),
    },
    ({ account, query }) => answer(account.id, query.query),
  );
}
