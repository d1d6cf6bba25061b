/** Durable Objects' part of the v4 API (https://developers.cloudflare.com/api/resources/durable_objects/). */
import { z } from '@hono/zod-openapi';
import { type App, define, pageOf, reply, WholeList } from '../../core/app.ts';
import type { CoreContext } from '../../core/context.ts';
import { ApiError } from '../../core/errors.ts';
import { listScripts } from '../../core/store.ts';

const BASE = '/accounts/{account_id}/workers/durable_objects/namespaces';

export function registerObjects(app: App, context: CoreContext): void {
  const namespacesOf = async (accountId: string) =>
    (await listScripts(context, accountId)).flatMap(({ name: script, objects }) =>
      (objects?.namespaces ?? []).map(({ id, className, sqlite, storage }) => ({
        storage: storage ?? objects!.storage,
        shape: { id, name: `${script}_${className}`, script, class: className, use_sqlite: sqlite },
      })),
    );

  define(
    app,
    context,
    { method: 'get', path: BASE, summary: 'Lists Durable Object namespaces', query: WholeList },
    async ({ account, query }) => {
      const all = await namespacesOf(account.id);
      return pageOf(
        all.map(({ shape }) => shape),
        query,
      );
    },
  );

  define(
    app,
    context,
    {
      method: 'get',
      path: `${BASE}/{namespace_id}/objects`,
      summary: 'Lists the objects of a namespace that have stored something',
      query: z.object({
        limit: z.coerce.number().int().min(10).max(10_000).default(1000),
        cursor: z
          .string()
          .regex(/^[0-9a-f]{64}$/)
          .optional(),
      }),
    },
    async ({ account, params, query }) => {
      const found = (await namespacesOf(account.id)).find(({ shape }) => shape.id === params.namespace_id);
      if (!found) throw new ApiError(10066, 'The Durable Object namespace does not exist on this account.');
      const ids = await context.objectFiles.list(found.storage, found.shape.id);
      const { cursor, limit } = query;
      const rest = cursor ? ids.filter((id) => id > cursor) : ids;
      const page = rest.slice(0, limit);
      return reply(
        page.map((id) => ({ id, hasStoredData: true })),
        { info: { count: page.length, cursor: rest.length > limit ? page.at(-1)! : '' } },
      );
    },
  );
}
