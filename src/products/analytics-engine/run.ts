/**
 * Runs one query on the points of one account. What a query may touch is said to SQLite, which asks for each part of it while it is compiled
 * (https://www.sqlite.org/c3ref/set_authorizer.html): its own tables are refused, and so is all but reading the account's datasets by known
 * functions. How long it may take is said by the process's parent.
 */
import { existsSync } from 'node:fs';
import { constants, type DatabaseSync } from 'node:sqlite';
import { datasetsOf, openPointsReader, POINT_COLUMNS } from '../../state/points.ts';
import { type Column, Result } from './format.ts';
import { addFunctions } from './functions.ts';
import { readQuery } from './sql.ts';
import { QueryError } from './tokens.ts';

/** Of SQLite, for a query: https://www.sqlite.org/limits.html */
const LIMITS = {
  length: 4 * 1024 * 1024,
  sqlLength: 256 * 1024,
  column: 200,
  exprDepth: 200,
  compoundSelect: 10,
  vdbeOp: 100_000,
  functionArg: 50,
  attach: 0,
  likePatternLength: 1000,
  variableNumber: 0,
  triggerDepth: 1,
};
const HEAP_BYTES = 256 * 1024 * 1024;
const VIEW_COLUMNS = Object.keys(POINT_COLUMNS).join(', ');

/** `path`: the account's file, which need not be there. `now`: milliseconds. Returns the answer's text. Throws QueryError. */
export function runQuery(path: string, text: string, now: number): string {
  const query = readQuery(text);
  if (query.kind === 'timezones') return listed('timezone', ['Etc/UTC']).text(query.format);
  const db = existsSync(path) ? openPointsReader(path, LIMITS) : openPointsReader(':memory:', LIMITS);
  try {
    const datasets = existsSync(path) ? datasetsOf(db) : [];
    if (query.kind === 'tables')
      return listed(
        'dataset',
        datasets.map(({ name }) => name),
      ).text(query.format);
    const named = datasets.filter(({ name }) => query.names.includes(name));
    return select(db, query.sql, named, now).text(query.format);
  } catch (error) {
    if (error instanceof QueryError) throw error;
    // SQLite says what is wrong with the query; so does what a function throws.
    throw new QueryError(error instanceof Error ? error.message : String(error));
  } finally {
    db.close();
  }
}

function listed(name: string, values: string[]): Result {
  const result = new Result([{ name, type: 'String' }]);
  for (const value of values) result.add([value]);
  return result;
}

function select(db: DatabaseSync, sql: string, datasets: { id: number; name: string }[], now: number): Result {
  db.exec(`PRAGMA temp_store = MEMORY; PRAGMA hard_heap_limit = ${HEAP_BYTES}`);
  for (const { id, name } of datasets) {
    db.exec(
      `CREATE TEMP VIEW "${name}" AS SELECT '${name}' AS dataset, ${VIEW_COLUMNS} FROM main.points WHERE dataset = ${id}`,
    );
  }
  const functions = addFunctions(db, now);
  restrict(db, new Set(datasets.map(({ name }) => name)), functions);
  const statement = db.prepare(sql);
  statement.setReadBigInts(true);
  statement.setReturnArrays(true);
  const columns = statement.columns().map(
    ({ name, column, table }): Column => ({
      name,
      type: (table === 'points' && column !== null && POINT_COLUMNS[column]) || null,
    }),
  );
  if (new Set(columns.map(({ name }) => name)).size < columns.length) {
    throw new QueryError('Two columns of the result have the same name: rename one with AS.');
  }
  const result = new Result(columns);
  for (const row of statement.iterate() as Iterable<unknown>) result.add(row as unknown[]);
  return result;
}

/** Allows reading the views by known functions. */
function restrict(db: DatabaseSync, views: ReadonlySet<string>, functions: ReadonlySet<string>): void {
  const { SQLITE_OK, SQLITE_DENY, SQLITE_SELECT, SQLITE_READ, SQLITE_FUNCTION } = constants;
  const mayRead = (table: string | null, database: string | null, view: string | null) => {
    if (database === 'main') return table === 'points' && view !== null && views.has(view);
    // Without a database it is a part of the query itself.
    return database === null || (database === 'temp' && table !== null && views.has(table));
  };
  db.setAuthorizer((action, first, second, database, view) => {
    const isAllowed =
      action === SQLITE_SELECT ||
      (action === SQLITE_READ && mayRead(first, database, view)) ||
      (action === SQLITE_FUNCTION && second !== null && functions.has(second.toLowerCase()));
    return isAllowed ? SQLITE_OK : SQLITE_DENY;
  });
}
