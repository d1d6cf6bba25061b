/**
 * One D1 database: a Durable Object whose SQLite is the database, alone in its process. Who may ask was decided before (its socket is only
 * known to the data process and the core). It speaks the protocol of `cloudflare-internal:d1-api`, and more for the control API:
 *
 *   POST /query, /execute           one {sql, params} or a list of them, from bindings; each list is one transaction
 *   POST /api/query, /api/raw       the same; answers for each statement, as objects or as rows
 *   POST /import                    the body is SQL, all in one transaction
 *   POST /export                    the body says what is wanted; answers SQL
 *   GET  /info                      size and number of tables
 *   POST /freeze, /thaw             between them, but not for long, nothing is answered: the files may be copied
 *
 * Every answer carries what it cost in USAGE: queries that read, that wrote, rows read, rows written.
 */
import { DurableObject } from 'cloudflare:workers';
import { dump } from './d1-dump.js';
import { statements } from './d1-statements.js';

const USAGE = 'selvedge-d1-usage';
const BOOKMARK = 'x-cf-d1-session-commit-token';
/** 10 GB in pages of 4 KiB. */
const MAX_PAGES = Math.floor(10e9 / 4096);
/** Who froze may be gone. */
const FROZEN_MS = 30_000;
/** Of an export, in characters. */
const CHUNK = 64 * 1024;
/** Of an import, in characters: more than any statement may have. */
const MAX_STATEMENT = 1024 * 1024;

const hex = (number, digits) => Math.floor(number).toString(16).padStart(digits, '0');

export class Database extends DurableObject {
  #sql = this.ctx.storage.sql;
  #calls = 0;
  /** Changes with each write. */
  #writes = 0;
  #process = crypto.randomUUID();
  /** An import or export that runs, if any. */
  #alone = null;
  /** Ends a freeze. */
  #frozen = null;

  constructor(ctx, env) {
    super(ctx, env);
    this.#sql.setMaxPageCountForTest(MAX_PAGES);
  }

  /**
   * Runs all statements of `entries` in one transaction. `format`: of the rows; 'none' leaves them out. Answers for each statement, or
   * (`perEntry`) the last one of each entry: JSON in two parts, between which the duration is to be put.
   */
  async run(entries, format, perEntry) {
    while (this.#alone) await this.#alone;
    const usage = [0, 0, 0, 0];
    try {
      const work = entries.map(({ sql, params }) => ({ all: statements(sql), params: params ?? [] }));
      if (perEntry ? work.some(({ all }) => all.length === 0) : work.every(({ all }) => all.length === 0)) {
        throw new Error('No SQL statements detected.');
      }
      const runAll = () => work.flatMap((entry) => this.#runEntry(entry, format, perEntry, usage));
      const isOne = work.length === 1 && work[0].all.length === 1;
      return {
        answers: isOne ? runAll() : this.ctx.storage.transactionSync(runAll),
        usage,
        bookmark: this.#bookmark(),
      };
    } catch (error) {
      return { error: worded(error), usage };
    }
  }

  /** Parameters are those of the last statement, as SQLite's own interfaces have it. */
  #runEntry({ all, params }, format, perEntry, usage) {
    const answers = all.map((text, index) => {
      const isLast = index === all.length - 1;
      return this.#runOne(text, isLast ? params : [], perEntry && !isLast ? 'none' : format, usage);
    });
    return perEntry ? answers.slice(-1) : answers;
  }

  #runOne(text, params, format, usage) {
    const size = this.#sql.databaseSize;
    const [changes, rowId] = this.#counters();
    const cursor = this.#sql.exec(
      text,
      ...params.map((value) => (Array.isArray(value) ? Uint8Array.from(value) : value)),
    );
    const rows = [];
    for (const row of cursor.raw()) if (format !== 'none') rows.push(row.map(plain));
    const [changesAfter, rowIdAfter] = this.#counters();
    const sizeAfter = this.#sql.databaseSize;
    const changed = changesAfter !== changes || sizeAfter !== size;
    const isWrite = changed || cursor.rowsWritten > 0;
    if (isWrite) this.#writes++;
    usage[isWrite ? 1 : 0]++;
    usage[2] += cursor.rowsRead;
    usage[3] += cursor.rowsWritten;
    const meta = {
      served_by: 'selvedge',
      served_by_primary: true,
      total_attempts: 1,
      changes: changesAfter - changes,
      last_row_id: rowIdAfter,
      changed_db: changed || rowIdAfter !== rowId,
      size_after: sizeAfter,
      rows_read: cursor.rowsRead,
      rows_written: cursor.rowsWritten,
    };
    const results = shaped(cursor.columnNames, rows, format);
    return [
      `{"success":true,"results":${JSON.stringify(results)},"meta":{"duration":`,
      `,${JSON.stringify(meta).slice(1)}}`,
    ];
  }

  #counters() {
    return this.#sql.exec('SELECT total_changes(), last_insert_rowid()').raw().next().value;
  }

  /** Of now; each sorts after those before it. There is one copy of the database, which has what any bookmark has seen. */
  #bookmark() {
    const now = Date.now();
    return `${hex(now / 1000, 8)}-${hex(now % 1000, 8)}-${hex(this.#calls++, 8)}-${'0'.repeat(32)}`;
  }

  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === '/thaw') return this.#thaw();
    while (this.#alone) await this.#alone;
    try {
      if (pathname === '/freeze') return this.#freeze();
      if (pathname === '/info') return this.#info();
      if (pathname === '/import') return await this.#import(request);
      if (pathname === '/export') return this.#export(await request.json());
      return Response.json({ success: false, error: 'not found' }, { status: 404 });
    } catch (error) {
      return Response.json({ success: false, error: worded(error) }, { status: 400 });
    }
  }

  /** The answer leaves when all that was written is on disk. */
  #freeze() {
    const done = Promise.withResolvers();
    this.#alone = done.promise;
    const thaw = () => {
      clearTimeout(timer);
      this.#frozen = null;
      this.#alone = null;
      done.resolve();
    };
    const timer = setTimeout(thaw, FROZEN_MS);
    this.#frozen = thaw;
    const state = `${this.#process} ${this.#writes}`;
    return Response.json({ bookmark: this.#bookmark(), state, size: this.#sql.databaseSize });
  }

  #thaw() {
    this.#frozen?.();
    return Response.json({});
  }

  #info() {
    const tables = this.#sql
      .exec(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\'",
      )
      .raw()
      .next().value[0];
    return Response.json({ tables, size: this.#sql.databaseSize, bookmark: this.#bookmark() });
  }

  async #import(request) {
    const done = Promise.withResolvers();
    this.#alone = done.promise;
    const started = Date.now();
    const sum = { statements: 0, read: 0, written: 0 };
    try {
      await this.ctx.storage.transaction(async () => {
        let rest = '';
        const body = request.body?.pipeThrough(new TextDecoderStream('utf-8', { fatal: true })) ?? [];
        for await (const chunk of body) {
          rest = this.#ingest(rest + chunk, sum);
          if (rest.length > MAX_STATEMENT) throw new Error('statement too long: SQLITE_TOOBIG');
        }
        // The last statement may have no semicolon; a comment may follow it.
        if (statements(rest).length > 0) this.#ingest(`${rest}\n;`, sum);
      });
    } finally {
      this.#alone = null;
      done.resolve();
    }
    const meta = {
      duration: Date.now() - started,
      rows_read: sum.read,
      rows_written: sum.written,
      size_after: this.#sql.databaseSize,
    };
    return Response.json(
      { success: true, statements: sum.statements, bookmark: this.#bookmark(), meta },
      { headers: { [USAGE]: `0,${sum.statements},${sum.read},${sum.written}` } },
    );
  }

  /** Runs what is complete and returns the rest. */
  #ingest(text, sum) {
    const { remainder, rowsRead, rowsWritten, statementCount } = this.#sql.ingest(text);
    sum.statements += statementCount;
    sum.read += rowsRead;
    sum.written += rowsWritten;
    this.#writes++;
    return remainder;
  }

  #export(options) {
    const exec = (text) => this.#sql.exec(text).raw();
    const lines = dump(exec, options);
    // What cannot be exported is refused before anything is sent.
    let next = lines.next();
    const done = Promise.withResolvers();
    this.#alone = done.promise;
    const end = () => {
      this.#alone = null;
      done.resolve();
    };
    const encoder = new TextEncoder();
    const body = new ReadableStream({
      pull(controller) {
        let text = '';
        try {
          for (; !next.done && text.length < CHUNK; next = lines.next()) text += `${next.value}\n`;
        } catch (error) {
          end();
          throw error;
        }
        if (text !== '') controller.enqueue(encoder.encode(text));
        if (!next.done) return;
        controller.close();
        end();
      },
      cancel() {
        lines.return();
        end();
      },
    });
    return new Response(body, { headers: { 'content-type': 'application/sql' } });
  }
}

/** JSON has no bytes: they are lists of numbers, as in D1. */
function plain(value) {
  return value instanceof ArrayBuffer ? [...new Uint8Array(value)] : value;
}

function shaped(columns, rows, format) {
  if (format === 'rows') return { columns, rows };
  return rows.map((row) => Object.fromEntries(columns.map((name, index) => [name, row[index]])));
}

function worded(error) {
  const message = String(error?.message ?? error);
  return /SQLITE_FULL$/.test(message) ? 'Exceeded maximum DB size.' : message;
}

const FORMATS = { '/query': 'rows', '/execute': 'objects', '/api/query': 'objects', '/api/raw': 'rows' };

export default {
  async fetch(request, env) {
    const database = env.DATABASE.getByName('database');
    const { pathname } = new URL(request.url);
    if (!Object.hasOwn(FORMATS, pathname)) return database.fetch(request);
    const asked = await request.json();
    const isList = Array.isArray(asked);
    const isExec = pathname === '/execute' && isList;
    const perEntry = !isExec && !pathname.startsWith('/api/');
    const started = performance.now();
    const { answers, error, usage, bookmark } = await database.run(
      isList ? asked : [asked],
      isExec ? 'none' : FORMATS[pathname],
      perEntry,
    );
    const headers = { 'content-type': 'application/json', [USAGE]: usage.join() };
    if (error !== undefined) {
      // The binding reads the error from the answer, whatever its status.
      return new Response(JSON.stringify({ success: false, error }), {
        headers,
        status: perEntry || isExec ? 200 : 400,
      });
    }
    if (request.headers.has(BOOKMARK)) headers[BOOKMARK] = bookmark;
    // The clock stands still while SQL runs: of several statements each gets the same share.
    const duration = ((performance.now() - started) / answers.length).toFixed(4);
    const texts = answers.map(([head, tail]) => `${head}${duration},"timings":{"sql_duration_ms":${duration}}${tail}`);
    return new Response(`[${texts.join()}]`, { headers });
  },
};
