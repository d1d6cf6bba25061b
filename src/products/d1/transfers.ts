/**
 * `wrangler d1 execute --file` and `d1 export`: SQL goes to and from a file of the core by an address that carries its own secret, and between
 * that file and the database by a job that the client asks for.
 */
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { json } from 'node:stream/consumers';
import { z } from '@hono/zod-openapi';
import { API_PREFIX, type ApiContext, type App, define } from '../../core/app.ts';
import type { CoreContext } from '../../core/context.ts';
import { ApiError } from '../../core/errors.ts';
import type { Account } from '../../model/documents.ts';
import { layout } from '../../model/layout.ts';
import { log, reason } from '../../model/log.ts';
import { openTransferFiles, TooLarge, type TransferFiles } from '../../state/transfer-files.ts';
import type { DatabaseClient } from './client.ts';
import type { Database } from './databases.ts';
import { type JobState, Jobs } from './jobs.ts';
import { D1, DatabaseError } from './limits.ts';
import type { Snapshots } from './snapshots.ts';

/** An address that was given out is good for so long. */
const ADDRESS_MS = 3_600_000;
const JOBS_PER_ACCOUNT = 4;
const ADDRESSES_PER_ACCOUNT = 16;
const TRANSFER = '/d1/transfers/{secret}';

const ImportBody = z.discriminatedUnion('action', [
  z.object({ action: z.literal('init'), etag: z.string().regex(/^[0-9a-f]{32}$/) }),
  z.object({ action: z.literal('ingest'), filename: z.string(), etag: z.string() }),
  z.object({ action: z.literal('poll'), current_bookmark: z.string() }),
]);
const ExportBody = z.object({
  output_format: z.literal('polling').default('polling'),
  current_bookmark: z.string().optional(),
  dump_options: z
    .object({
      no_schema: z.boolean().default(false),
      no_data: z.boolean().default(false),
      tables: z.array(z.string()).max(1000).default([]),
    })
    .prefault({}),
});

/** What an address leads to. `file`: null until the upload is there. */
interface Transfer {
  accountId: string;
  databaseId: string;
  kind: 'upload' | 'download';
  etag: string;
  filename: string;
  file: string | null;
}

interface Imported {
  statements: number;
  bookmark: string;
  meta: Record<string, number>;
}

export function registerTransfers(
  app: App,
  context: CoreContext,
  client: DatabaseClient,
  snapshots: Pick<Snapshots, 'before'>,
  requireDatabase: (account: Account, params: Record<string, string>) => Promise<Database>,
): void {
  let opening: Promise<TransferFiles> | undefined;
  const files = () => {
    opening ??= openTransferFiles(layout(context.settings.dataDir).transfers);
    return opening;
  };
  /** Secret -> transfer. */
  const transfers = new Map<string, Transfer>();
  const imports = new Jobs<Imported>(JOBS_PER_ACCOUNT);
  const exports = new Jobs<{ filename: string; secret: string }>(JOBS_PER_ACCOUNT);

  function add(transfer: Transfer): string {
    const theirs = [...transfers].filter(([, { accountId }]) => accountId === transfer.accountId);
    // The oldest go: who left them does not come back.
    for (const [secret] of theirs.slice(0, Math.max(0, theirs.length + 1 - ADDRESSES_PER_ACCOUNT))) forget(secret);
    const secret = randomBytes(32).toString('base64url');
    transfers.set(secret, transfer);
    setTimeout(() => forget(secret), ADDRESS_MS).unref();
    return secret;
  }

  function forget(secret: string): void {
    const transfer = transfers.get(secret);
    transfers.delete(secret);
    if (transfer?.file) void removeFile(transfer.file);
  }

  async function removeFile(name: string): Promise<void> {
    await (await files()).remove(name).catch((error: unknown) => {
      log('warn', 'a file of a transfer is left', { error: reason(error) });
    });
  }

  function requireTransfer(params: Record<string, string>, kind: Transfer['kind']): Transfer {
    const found = transfers.get(params.secret!);
    if (found?.kind !== kind) throw new ApiError(7404, 'This address is unknown, or no longer good.');
    return found;
  }

  define(
    app,
    context,
    {
      method: 'put',
      path: TRANSFER,
      summary: 'Uploads SQL for an import, by the address that the import gave',
      auth: 'none',
      rawBody: 'application/sql',
    },
    async ({ c, params }) => {
      const transfer = requireTransfer(params, 'upload');
      const body = c.req.raw.body ? Readable.fromWeb(c.req.raw.body as never) : Readable.from([]);
      const file = await (await files()).write(body, D1.importBytes).catch((error: unknown) => {
        if (error instanceof TooLarge) throw new ApiError(10003, `An import has at most ${D1.importBytes} bytes.`);
        throw error;
      });
      if (file.md5 !== transfer.etag || transfers.get(params.secret!) !== transfer) {
        await removeFile(file.name);
        throw new ApiError(7400, 'The upload is not the file that was announced.');
      }
      if (transfer.file) await removeFile(transfer.file);
      transfer.file = file.name;
      return new Response(null, { headers: { etag: `"${file.md5}"` } });
    },
  );

  define(
    app,
    context,
    {
      method: 'get',
      path: TRANSFER,
      summary: 'Downloads an export, by the address that the export gave',
      auth: 'none',
    },
    async ({ params }) => {
      const { file } = requireTransfer(params, 'download');
      const stream = (await files()).read(file!);
      return new Response(Readable.toWeb(stream) as ReadableStream, { headers: { 'content-type': 'application/sql' } });
    },
  );

  define(
    app,
    context,
    {
      method: 'post',
      path: '/accounts/{account_id}/d1/database/{database_id}/import',
      summary: 'Runs a file of SQL as one transaction: init, ingest, then poll',
      body: ImportBody,
    },
    async ({ c, account, params, body }) => {
      const database = await requireDatabase(account, params);
      if (body.action === 'init') {
        const { etag } = body;
        const filename = `${database.id}.${etag}.sql`;
        const base = { accountId: account.id, databaseId: database.id, kind: 'upload' as const, file: null };
        const secret = add({ ...base, etag, filename });
        return { success: true, filename, upload_url: addressOf(c, secret) };
      }
      let job = body.action === 'poll' ? body.current_bookmark : null;
      if (body.action === 'ingest') {
        const found = [...transfers].find(
          ([, { databaseId, kind, file, filename }]) =>
            databaseId === database.id && kind === 'upload' && file !== null && filename === body.filename,
        );
        if (!found) throw new ApiError(7400, 'There is no upload of this name for the database.');
        const [secret, { file }] = found;
        job = imports.start(account.id, async () => {
          try {
            return await ingest(database, file!);
          } finally {
            forget(secret);
          }
        });
        if (job === null) throw tooMany();
      }
      const state = await imports.wait(account.id, job!);
      if (!state) throw unknownJob();
      return jobShape(job!, state, ({ statements, bookmark, meta }) => ({
        num_queries: statements,
        final_bookmark: bookmark,
        meta,
      }));
    },
  );

  define(
    app,
    context,
    {
      method: 'post',
      path: '/accounts/{account_id}/d1/database/{database_id}/export',
      summary: 'Makes a file of SQL of a database: call again with the bookmark of the answer until it is complete',
      body: ExportBody,
    },
    async ({ c, account, params, body }) => {
      const database = await requireDatabase(account, params);
      let job = body.current_bookmark ?? null;
      if (job === null) {
        const { no_schema: noSchema, no_data: noData, tables } = body.dump_options;
        job = exports.start(account.id, () => dump(database, { noSchema, noData, tables }));
        if (job === null) throw tooMany();
      }
      const state = await exports.wait(account.id, job);
      if (!state) throw unknownJob();
      return jobShape(job, state, ({ filename, secret }) => ({ filename, signed_url: addressOf(c, secret) }));
    },
  );

  async function ingest(database: Database, file: string): Promise<Imported> {
    await snapshots.before(database);
    const answer = await client.ask(database, { method: 'POST', path: '/import', body: (await files()).read(file) });
    const told = (await json(answer)) as Imported & { error?: string };
    if (told.error !== undefined) throw new DatabaseError(told.error);
    return told;
  }

  async function dump(database: Database, options: object): Promise<{ filename: string; secret: string }> {
    const body = Buffer.from(JSON.stringify(options));
    const answer = await client.ask(database, { method: 'POST', path: '/export', body });
    if (answer.statusCode !== 200) throw new DatabaseError(((await json(answer)) as { error: string }).error);
    const file = await (await files()).write(answer, Number.MAX_SAFE_INTEGER);
    const filename = `${database.name}.${file.name.slice(0, 8)}.sql`;
    const base = { accountId: database.accountId, databaseId: database.id, kind: 'download' as const };
    return { filename, secret: add({ ...base, etag: file.md5, filename, file: file.name }) };
  }
}

function jobShape<T>(job: string, state: JobState<T>, result: (value: T) => object) {
  const common = { at_bookmark: job, messages: [], status: state.status };
  if (state.status === 'active') return { success: true, ...common };
  if (state.status === 'complete') return { success: true, ...common, result: result(state.result) };
  if (!(state.error instanceof DatabaseError)) log('error', 'a transfer of D1 failed', { error: reason(state.error) });
  const error = state.error instanceof DatabaseError ? state.error.message : 'Internal error in D1 DB.';
  return { success: false, ...common, error, errors: [error] };
}

function tooMany(): ApiError {
  return new ApiError(7400, `An account has at most ${JOBS_PER_ACCOUNT} imports and as many exports at a time.`);
}

function unknownJob(): ApiError {
  return new ApiError(7400, 'There is no such import or export of the database (any more): start it again.');
}

/** The address that the client used leads here again. */
function addressOf(c: ApiContext, secret: string): string {
  return new URL(API_PREFIX + TRANSFER.replace('{secret}', secret), c.req.url).href;
}
