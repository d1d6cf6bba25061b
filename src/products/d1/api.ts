/** D1's part of the v4 API (https://developers.cloudflare.com/api/resources/d1/): databases and their queries. */
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { json } from 'node:stream/consumers';
import { z } from '@hono/zod-openapi';
import { type App, define, describeIssue, Paging, pageOf } from '../../core/app.ts';
import { readJson } from '../../core/body.ts';
import type { CoreContext } from '../../core/context.ts';
import { ApiError } from '../../core/errors.ts';
import { serialized } from '../../core/serialize.ts';
import type { Account } from '../../model/documents.ts';
import { log, reason } from '../../model/log.ts';
import { createDatabaseClient, type Question } from './client.ts';
import { type Database, Databases } from './databases.ts';
import { D1, DatabaseError, ID, NAME } from './limits.ts';
import { D1_NAMESPACE, storageOf } from './process.ts';
import { openSnapshots } from './snapshots.ts';
import { registerTimeTravel } from './time-travel.ts';
import { registerTransfers } from './transfers.ts';

const BASE = '/accounts/{account_id}/d1/database';
const ONE = `${BASE}/{database_id}`;
const REMOVE_TIMEOUT_MS = 30_000;

/** SQL that may write: before it the state is kept. */
const WRITES = /\b(INSERT|REPLACE|UPDATE|DELETE|CREATE|ALTER|DROP)\b/i;

const Parameter = z.union([z.string(), z.number(), z.boolean().transform(Number), z.null()]);
const Query = z.object({ sql: z.string(), params: z.array(Parameter).nullish() });
const QueryBody = z.union([z.object({ batch: z.array(Query).min(1) }), Query]);

const Creation = z.object({
  name: z.string(),
  primary_location_hint: z.string().optional(),
  jurisdiction: z.string().optional(),
});

export function registerD1(app: App, context: CoreContext): { close(): void } {
  const databases = new Databases(context.ledger);
  const client = createDatabaseClient(context.bus, 'core');
  const snapshots = openSnapshots(context.bus, context.settings.dataDir, client, databases);

  /** By id or name; one of another account is answered as one that is not there. */
  const requireDatabase = async (account: Account, params: Record<string, string>): Promise<Database> => {
    const found = await databases.find(account.id, params.database_id!);
    if (!found) throw new ApiError(7404, `The database ${params.database_id!.slice(0, 64)} could not be found`);
    return found;
  };
  const ask = async (database: Database, question: Question): Promise<IncomingMessage> => {
    try {
      return await client.ask(database, question);
    } catch (error) {
      if (error instanceof DatabaseError) throw new ApiError(7500, error.message);
      throw error;
    }
  };

  define(
    app,
    context,
    {
      method: 'get',
      path: BASE,
      summary: 'Lists D1 databases',
      query: Paging.extend({ name: z.string().optional() }),
    },
    async ({ account, query }) => {
      const all = await databases.list(account.id);
      const page = pageOf(
        all.filter(({ name }) => query.name === undefined || name === query.name),
        query,
      );
      const shapes = (page.result as Database[]).map(async (database) => ({
        ...listed(database),
        file_size: await context.objectFiles.sizeOf(storageOf(database.id), D1_NAMESPACE),
      }));
      return page.with(await Promise.all(shapes));
    },
  );

  define(
    app,
    context,
    { method: 'post', path: BASE, summary: 'Creates a D1 database', body: Creation },
    ({ account, body: { name } }) =>
      serialized(`d1/${account.id}`, async () => {
        if (!NAME.test(name) || name.length > D1.nameLength || ID.test(name)) {
          throw new ApiError(
            7400,
            `The name of a database has 1 to ${D1.nameLength} letters, digits, "-" and "_", and begins with a letter or digit; this is ${JSON.stringify(name.slice(0, 80))}.`,
          );
        }
        const all = await databases.list(account.id);
        if (all.some((other) => other.name === name)) {
          throw new ApiError(7502, `A database with that name already exists: ${name}`);
        }
        if (all.length >= D1.databasesPerAccount) {
          throw new ApiError(7406, `An account has at most ${D1.databasesPerAccount} D1 databases.`);
        }
        return { ...shape(await databases.create(account.id, name)), num_tables: 0, file_size: 0 };
      }),
  );

  define(
    app,
    context,
    {
      method: 'get',
      path: ONE,
      summary: 'Shows a D1 database, by id or name',
      query: z.object({ fields: z.string().optional() }),
    },
    async ({ account, params, query }) => {
      const database = await requireDatabase(account, params);
      const wanted = query.fields?.split(',');
      const basic = shape(database);
      if (wanted?.every((field) => field in basic)) {
        return Object.fromEntries(Object.entries(basic).filter(([field]) => wanted.includes(field)));
      }
      const info = (await json(await ask(database, { method: 'GET', path: '/info' }))) as {
        tables: number;
        size: number;
      };
      return { ...basic, num_tables: info.tables, file_size: info.size };
    },
  );

  define(
    app,
    context,
    { method: 'delete', path: ONE, summary: 'Deletes a D1 database with all that is in it' },
    async ({ account, params }) => {
      const database = await requireDatabase(account, params);
      await databases.remove(database);
      await snapshots.remove(database);
      await context.bus
        .request('local.d1-remove', { id: database.id }, { timeoutMs: REMOVE_TIMEOUT_MS })
        .catch((error: unknown) =>
          // Nobody can reach it any more; its files go at the next start.
          log('warn', 'the files of a deleted database are still there', { id: database.id, error: reason(error) }),
        );
      return null;
    },
  );

  for (const [path, what] of [
    ['query', 'objects'],
    ['raw', 'arrays'],
  ] as const) {
    define(
      app,
      context,
      {
        method: 'post',
        path: `${ONE}/${path}`,
        summary: `Runs SQL as one transaction; rows come as ${what}`,
        rawBody: 'application/json',
      },
      async ({ c, account, params }) => {
        const database = await requireDatabase(account, params);
        const parsed = QueryBody.safeParse(await readJson(c.req.raw, D1.apiQueryBytes));
        if (!parsed.success) throw new ApiError(7400, describeIssue(parsed.error, 'body'));
        const queries = 'batch' in parsed.data ? parsed.data.batch : [parsed.data];
        if (queries.some(({ sql }) => WRITES.test(sql))) await snapshots.before(database);
        const body = Buffer.from(JSON.stringify(queries));
        const signal = c.req.raw.signal;
        const answer = await ask(database, { method: 'POST', path: `/api/${path}`, body, signal });
        if (answer.statusCode === 200) return enveloped(answer);
        throw new ApiError(7500, ((await json(answer)) as { error: string }).error);
      },
    );
  }

  registerTransfers(app, context, client, snapshots, requireDatabase);
  registerTimeTravel(app, context, snapshots, requireDatabase);
  return {
    close() {
      snapshots.close();
      client.close();
    },
  };
}

function listed({ id, name, createdOn }: Database) {
  return { uuid: id, name, created_at: createdOn, version: 'production' };
}

function shape(database: Database) {
  return { ...listed(database), read_replication: { mode: 'disabled' } };
}

/** Results may be large: they go out as they come. */
function enveloped(answer: IncomingMessage): Response {
  async function* parts() {
    yield '{"success":true,"errors":[],"messages":[],"result":';
    yield* answer;
    yield '}';
  }
  const body = Readable.toWeb(Readable.from(parts(), { objectMode: false })) as ReadableStream;
  return new Response(body, { headers: { 'content-type': 'application/json' } });
}
