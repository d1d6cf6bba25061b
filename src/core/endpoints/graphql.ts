/**
 * The few GraphQL queries that wrangler makes, by their operation's name: no GraphQL server. Answers have no v4 envelope
 * (https://developers.cloudflare.com/analytics/graphql-api/).
 */
import { z } from '@hono/zod-openapi';
import type { Account } from '../../model/documents.ts';
import { type App, define } from '../app.ts';
import type { CoreContext } from '../context.ts';

const Query = z.object({
  query: z.string().max(20_000),
  operationName: z.string().max(200).nullish(),
  variables: z.record(z.string(), z.unknown()).nullish(),
});

/** What stands below `viewer.accounts[0]`. */
export type GraphqlHandler = (
  account: Account,
  variables: Record<string, unknown>,
) => Promise<Record<string, unknown>> | Record<string, unknown>;

export function registerGraphql(app: App, context: CoreContext, handlers: Record<string, GraphqlHandler>): void {
  define(
    app,
    context,
    { method: 'post', path: '/graphql', summary: 'Figures of R2 and D1, as wrangler asks for them', body: Query },
    async ({ c, account, body }) => {
      const name = body.operationName ?? /\bquery\s+(\w+)/.exec(body.query)?.[1] ?? '';
      const handler = Object.hasOwn(handlers, name) ? handlers[name] : undefined;
      const variables = body.variables ?? {};
      if (!handler || (variables.accountTag !== undefined && variables.accountTag !== account.id)) {
        const message = handler
          ? 'not authorized for that account'
          : `this Selvedge knows no query ${name.slice(0, 64)}`;
        return c.json({ data: null, errors: [{ message }] });
      }
      return c.json({ data: { viewer: { accounts: [await handler(account, variables)] } }, errors: null });
    },
  );
}
