/**
 * `wrangler d1 time-travel`: bookmarks of states that are kept (`snapshots.ts`), and their return. There is no state for each minute: who names
 * a time is told which states there are, instead of getting another one than was asked for.
 */
import { z } from '@hono/zod-openapi';
import { type App, define } from '../../core/app.ts';
import type { CoreContext } from '../../core/context.ts';
import { ApiError } from '../../core/errors.ts';
import type { Account } from '../../model/documents.ts';
import { timeOf } from '../../state/database-snapshots.ts';
import type { Database } from './databases.ts';
import { DatabaseError } from './limits.ts';
import type { Snapshots } from './snapshots.ts';

const BASE = '/accounts/{account_id}/d1/database/{database_id}/time_travel';

export function registerTimeTravel(
  app: App,
  context: CoreContext,
  snapshots: Snapshots,
  requireDatabase: (account: Account, params: Record<string, string>) => Promise<Database>,
): void {
  define(
    app,
    context,
    {
      method: 'get',
      path: `${BASE}/bookmark`,
      summary: 'The bookmark of a D1 database now; its state is kept for a restore',
      query: z.object({ timestamp: z.iso.datetime({ offset: true }).optional() }),
    },
    async ({ account, params, query }) => {
      const database = await requireDatabase(account, params);
      if (query.timestamp !== undefined) throw await notKept(database, `the time ${query.timestamp}`);
      return { bookmark: await checked(snapshots.now(database)) };
    },
  );

  define(
    app,
    context,
    {
      method: 'post',
      path: `${BASE}/restore`,
      summary: 'Restores a D1 database to a bookmark whose state is kept',
      query: z.object({ bookmark: z.string() }),
    },
    async ({ account, params, query: { bookmark } }) => {
      const database = await requireDatabase(account, params);
      if (!(await snapshots.list(database)).includes(bookmark)) {
        throw await notKept(database, `the bookmark ${bookmark.slice(0, 64)}`);
      }
      const previous = await checked(snapshots.restore(database, bookmark));
      return { bookmark, previous_bookmark: previous, message: `The database was restored to bookmark ${bookmark}.` };
    },
  );

  async function notKept(database: Database, what: string): Promise<ApiError> {
    const kept = (await snapshots.list(database)).map((each) => `${new Date(timeOf(each)).toISOString()} ${each}`);
    return new ApiError(
      7400,
      `This Selvedge does not keep every state of a database, and none for ${what}. Kept are (restore with --bookmark): ${kept.join(', ') || 'none'}.`,
    );
  }
}

async function checked<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof DatabaseError) throw new ApiError(7500, error.message);
    throw error;
  }
}
