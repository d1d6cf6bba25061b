/** A database as the SQL that makes it again, as `sqlite3 .dump` writes it and `wrangler d1 export` expects it. */

/**
 * `sql`: `exec(text)` gives rows as arrays. Yields statements, each with its semicolon. `noSchema`, `noData`: without the one or the other;
 * `tables`: only these (all if it is empty). Throws for a database with virtual tables, as D1 does.
 */
export function* dump(exec, { noSchema = false, noData = false, tables = [] } = {}) {
  const isWanted = (name) => tables.length === 0 || tables.includes(name);
  // Tables may refer to others that come later.
  yield 'PRAGMA defer_foreign_keys=TRUE;';
  const found = [
    ...exec(
      "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql IS NOT NULL ORDER BY name = 'sqlite_sequence', rowid",
    ),
  ];
  for (const [name, schema] of found) {
    if (!isWanted(name) || /^_cf_/i.test(name)) continue;
    if (name === 'sqlite_sequence') {
      // Made by the tables before, and filled by their rows.
      if (!noData) yield 'DELETE FROM sqlite_sequence;';
    } else if (/^sqlite_/i.test(name)) continue;
    else if (/^CREATE VIRTUAL TABLE/i.test(schema)) {
      throw new Error('D1 Export error: cannot export databases with Virtual Tables (fts5)');
    } else if (!noSchema) yield `${schema};`;
    if (!noData) yield* rows(exec, name);
  }
  if (noSchema) return;
  const others = exec(
    "SELECT tbl_name, sql FROM sqlite_schema WHERE type IN ('index', 'trigger', 'view') AND sql IS NOT NULL ORDER BY type, rowid",
  );
  for (const [table, schema] of others) if (isWanted(table)) yield `${schema};`;
}

/** In SQLite's own notation: whole numbers of 64 bits and fractions stay what they are. */
function* rows(exec, table) {
  const columns = [...exec(`SELECT name FROM pragma_table_info(${text(table)})`)].map(([name]) => quoted(name));
  const values = columns.map((column) => `quote(${column})`).join(', ');
  for (const row of exec(`SELECT ${values} FROM ${quoted(table)}`)) {
    yield `INSERT INTO ${quoted(table)} (${columns.join(',')}) VALUES(${row.join(',')});`;
  }
}

const quoted = (name) => `"${name.replaceAll('"', '""')}"`;
const text = (value) => `'${value.replaceAll("'", "''")}'`;
