/** D1 with the real wrangler and a real Worker: the binding's methods, the commands, and what is said when something is wrong. */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { CALLER, openD1Bench } from './d1-bench.ts';
import { eventually, startEdge } from './harness.ts';

const { edge, cwd, id, call, d1, create, deploy, processOf } = await openD1Bench();
after(() => edge.close());

const exec = (sql: string) => call({ method: 'exec', args: [sql] });
const all = async (sql: string, ...params: unknown[]) => (await call({ method: 'all', sql, params })).ok;

describe('the binding', () => {
  it('executes, prepares, binds and reads by each method', async () => {
    const { ok } = await exec(
      'CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, age REAL, photo BLOB)\nCREATE INDEX by_name ON people (name)',
    );
    assert.equal(ok.count, 2);
    const insert = 'INSERT INTO people (name, age, photo) VALUES (?1, ?2, ?3)';
    const first = (await call({ method: 'run', sql: insert, params: ['Žofia', 36.5, { bytes: [0, 255, 1] }] })).ok;
    assert.deepEqual([first.success, first.results, first.meta.last_row_id, first.meta.changes], [true, [], 1, 1]);
    await call({ method: 'run', sql: insert, params: ['Bob', null, null] });
    assert.deepEqual((await all('SELECT * FROM people ORDER BY id')).results, [
      { id: 1, name: 'Žofia', age: 36.5, photo: [0, 255, 1] },
      { id: 2, name: 'Bob', age: null, photo: null },
    ]);
    const one = { method: 'first' as const, sql: 'SELECT id, name FROM people WHERE id = ?' };
    assert.deepEqual((await call({ ...one, params: [2] })).ok, { id: 2, name: 'Bob' });
    assert.equal((await call({ ...one, params: [2], args: ['name'] })).ok, 'Bob');
    assert.equal((await call({ ...one, params: [3] })).ok, null);
    const raw = { method: 'raw' as const, sql: 'SELECT id, name FROM people ORDER BY id' };
    assert.deepEqual((await call(raw)).ok, [
      [1, 'Žofia'],
      [2, 'Bob'],
    ]);
    assert.deepEqual((await call({ ...raw, args: [{ columnNames: true }] })).ok[0], ['id', 'name']);
    const returning = await call({ method: 'run', sql: 'UPDATE people SET age = 1 WHERE id = 2 RETURNING id, age' });
    assert.deepEqual(returning.ok.results, [{ id: 2, age: 1 }]);
  });

  it('tells what a statement did and cost', async () => {
    const { meta } = (await call({ method: 'run', sql: 'UPDATE people SET age = 2' })).ok;
    assert.equal(meta.changes, 2);
    assert.equal(meta.changed_db, true);
    assert.ok(meta.rows_read >= 2 && meta.rows_written === 2, JSON.stringify(meta));
    assert.ok(meta.size_after >= 8192 && meta.duration >= 0 && typeof meta.served_by === 'string');
    const read = (await all('SELECT * FROM people')).meta;
    assert.deepEqual([read.rows_read, read.rows_written, read.changes, read.changed_db], [2, 0, 0, false]);
  });

  it('runs a batch as one: all of it, or nothing', async () => {
    const insert = 'INSERT INTO people (name) VALUES (?)';
    const count = async () => (await all('SELECT count(*) AS n FROM people')).results[0].n;
    const done = await call({
      batch: [
        [insert, 'c'],
        ['SELECT name FROM people WHERE name = ?', 'c'],
        [insert, 'd'],
      ],
    });
    assert.deepEqual(
      done.ok.map(({ results, meta }: any) => [results.length, meta.changes]),
      [
        [0, 1],
        [1, 0],
        [0, 1],
      ],
    );
    const before = await count();
    const failed = await call({
      batch: [
        [insert, 'e'],
        ['INSERT INTO people (id) VALUES (?)', 1],
        [insert, 'f'],
      ],
    });
    assert.equal(
      failed.error,
      'D1_ERROR: UNIQUE constraint failed: people.id: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_PRIMARYKEY)',
    );
    assert.equal(await count(), before);
  });

  it('keeps foreign keys', async () => {
    await exec('CREATE TABLE pets (owner INTEGER REFERENCES people (id))');
    assert.match(
      (await call({ method: 'run', sql: 'INSERT INTO pets VALUES (?)', params: [999] })).error,
      /^D1_ERROR: FOREIGN KEY constraint failed: SQLITE_CONSTRAINT/,
    );
  });

  it('has sessions, whose bookmarks rise', async () => {
    const sql = 'SELECT 1 AS one';
    const bookmarks: string[] = [];
    for (const session of ['first-primary', 'first-unconstrained', null]) {
      const { ok, bookmark } = await call({ method: 'first', sql, session });
      assert.deepEqual(ok, { one: 1 });
      bookmarks.push(bookmark);
    }
    const { bookmark } = await call({ method: 'run', sql: 'DELETE FROM pets', session: bookmarks.at(-1)! });
    bookmarks.push(bookmark);
    for (const each of bookmarks) assert.match(each, /^[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{32}$/);
    assert.deepEqual([...bookmarks].sort(), bookmarks);
  });

  for (const [what, asked, message] of [
    [
      'a table that is not there',
      { method: 'all', sql: 'SELECT * FROM nope' },
      'D1_ERROR: no such table: nope: SQLITE_ERROR',
    ],
    [
      'bad syntax',
      { method: 'run', sql: 'INSERTZ' },
      /^D1_ERROR: near "INSERTZ": syntax error at offset 0: SQLITE_ERROR$/,
    ],
    [
      'bad syntax in exec',
      { method: 'exec', args: ['INSERTZ INTO x'] },
      /^D1_EXEC_ERROR: Error in line 1: INSERTZ INTO x: near "INSERTZ": syntax error/,
    ],
    ['no statement', { method: 'run', sql: '-- nothing' }, 'D1_ERROR: No SQL statements detected.'],
    ['a transaction of its own', { method: 'run', sql: 'BEGIN' }, /^D1_ERROR: To execute a transaction, please use/],
    ['the runtime’s tables', { method: 'run', sql: 'CREATE TABLE _cf_x (a)' }, /^D1_ERROR: .*SQLITE_AUTH/],
    [
      'another file',
      { method: 'run', sql: "ATTACH '/etc/passwd' AS x" },
      /^D1_ERROR: not authorized.*SQLITE_AUTH|D1_ERROR: .*ATTACH|too many attached/,
    ],
    [
      'too few parameters',
      { method: 'run', sql: 'SELECT ?, ?', params: [1] },
      /^D1_ERROR: Wrong number of parameter bindings/,
    ],
    [
      'more than 100 parameters',
      { method: 'run', sql: `SELECT ${Array(101).fill('?').join()}`, params: Array(101).fill(1) },
      /^D1_ERROR: too many SQL variables/,
    ],
    [
      'a statement above 100 KB',
      { method: 'run', sql: `SELECT '${'x'.repeat(100_000)}'` },
      /^D1_ERROR: statement too long: SQLITE_TOOBIG/,
    ],
    [
      'a column that is not there',
      { method: 'first', sql: 'SELECT 1 AS a', args: ['b'] },
      'D1_COLUMN_NOTFOUND: Column not found (b)',
    ],
    ['a dump', { method: 'dump' }, /^D1_DUMP_ERROR/],
  ] as [string, Parameters<typeof call>[0], string | RegExp][]) {
    it(`says what is wrong with ${what}`, async () => {
      const { error } = await call(asked);
      if (typeof message === 'string') assert.equal(error, message);
      else assert.match(error, message);
    });
  }

  it('reads and writes values of a megabyte', async () => {
    const text = 'ä'.repeat(500_000);
    await call({ method: 'run', sql: 'INSERT INTO people (name) VALUES (?)', params: [text] });
    const [found] = (await all('SELECT name FROM people WHERE length(name) = 500000')).results;
    assert.equal(found.name, text);
  });

  it('reaches its own database only', async () => {
    const other = await create('second');
    const host = await deploy('two', other);
    assert.match((await call({ method: 'all', sql: 'SELECT * FROM people' }, host)).error, /no such table: people/);
  });
});

describe('wrangler d1', () => {
  it('creates, lists, shows and deletes databases', async () => {
    const other = await create('other');
    const list = async () => (JSON.parse(await d1('list', '--json')) as any[]).map(({ name }) => name).sort();
    assert.deepEqual(await list(), ['first', 'other', 'second']);
    const twice = await edge.wrangler(['d1', 'create', 'other'], { cwd });
    assert.match(twice.stdout + twice.stderr, /database with that name already exists/);
    const bad = await edge.wrangler(['d1', 'create', '../x'], { cwd });
    assert.match(bad.stdout + bad.stderr, /7400/);
    assert.deepEqual(JSON.parse(await d1('info', 'other', '--json')).uuid, other);
    assert.ok(await processOf(other));
    await d1('delete', 'other', '-y');
    assert.deepEqual(await list(), ['first', 'second']);
    assert.equal(await processOf(other), null);
    const gone = await edge.wrangler(['d1', 'info', 'other'], { cwd });
    assert.notEqual(gone.code, 0);
  });

  it('executes commands, and says what is wrong with them', async () => {
    const output = await d1('execute', 'first', '--remote', '--json', '--command', "SELECT 1 AS a; SELECT 'b;' AS b");
    assert.deepEqual(
      JSON.parse(output).map(({ results }: any) => results),
      [[{ a: 1 }], [{ b: 'b;' }]],
    );
    const { code, stdout, stderr } = await edge.wrangler(
      ['d1', 'execute', 'first', '--remote', '--command', 'SELECT * FROM nope'],
      { cwd },
    );
    assert.notEqual(code, 0);
    assert.match(stdout + stderr, /no such table: nope: SQLITE_ERROR[\s\S]*7500/);
  });

  it('runs a file as one, exports it, and imports the export elsewhere', async () => {
    const rows = Array.from({ length: 3_000 }, (_, i) => `INSERT INTO lines VALUES (${i}, 'text; ${i} ''ü''');`);
    await writeFile(join(cwd, 'fill.sql'), `CREATE TABLE lines (n INTEGER PRIMARY KEY, t TEXT);\n${rows.join('\n')}\n`);
    assert.match(await d1('execute', 'first', '--remote', '--file', 'fill.sql', '-y'), /3001/);
    await writeFile(join(cwd, 'bad.sql'), "INSERT INTO lines VALUES (-1, '');\nINSERT INTO lines VALUES (1, '');");
    const failed = await edge.wrangler(['d1', 'execute', 'first', '--remote', '--file', 'bad.sql', '-y'], { cwd });
    assert.notEqual(failed.code, 0);
    assert.match(failed.stdout + failed.stderr, /UNIQUE constraint failed: lines.n/);
    assert.deepEqual((await all('SELECT count(*) AS n, min(n) AS least FROM lines')).results, [{ n: 3_000, least: 0 }]);
    await d1('export', 'first', '--remote', '--output', 'out.sql', '--table', 'lines');
    await d1('execute', 'second', '--remote', '--file', 'out.sql', '-y');
    await d1('export', 'second', '--remote', '--output', 'again.sql', '--table', 'lines');
    const [out, again] = await Promise.all(['out.sql', 'again.sql'].map((file) => readFile(join(cwd, file), 'utf8')));
    assert.equal(out, again);
    assert.equal(out!.match(/INSERT INTO "lines"/g)!.length, 3_000);
    await d1('export', 'second', '--remote', '--output', 'schema.sql', '--no-data');
    assert.doesNotMatch(await readFile(join(cwd, 'schema.sql'), 'utf8'), /INSERT/);
  });

  it('applies migrations, each once', async () => {
    const project = await edge.project(
      {
        name: 'migrated',
        main: 'index.js',
        compatibility_date: '2026-11-01',
        d1_databases: [{ binding: 'DB', database_name: 'second', database_id: await idOf('second') }],
      },
      { 'index.js': CALLER },
    );
    await mkdir(join(project, 'migrations'));
    const migration = 'CREATE TABLE a (x);\nCREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM a; END;';
    await writeFile(join(project, 'migrations', '0001_first.sql'), migration);
    assert.match(
      await edge.deployed(['d1', 'migrations', 'list', 'second', '--remote'], { cwd: project }),
      /0001_first/,
    );
    await edge.deployed(['d1', 'migrations', 'apply', 'second', '--remote'], { cwd: project });
    await writeFile(
      join(project, 'migrations', '0002_second.sql'),
      'INSERT INTO a VALUES (1); ALTER TABLE a ADD COLUMN y;',
    );
    await edge.deployed(['d1', 'migrations', 'apply', 'second', '--remote'], { cwd: project });
    assert.match(
      await edge.deployed(['d1', 'migrations', 'list', 'second', '--remote'], { cwd: project }),
      /No migrations/,
    );
    await writeFile(join(project, 'migrations', '0003_bad.sql'), 'CREATE TABLE b (x); CREATE TABLE a (x);');
    const bad = await edge.wrangler(['d1', 'migrations', 'apply', 'second', '--remote'], { cwd: project });
    assert.notEqual(bad.code, 0);
    const tables = await d1(
      'execute',
      'second',
      '--remote',
      '--json',
      '--command',
      "SELECT name FROM sqlite_schema WHERE name = 'b'",
    );
    assert.deepEqual(JSON.parse(tables)[0].results, []);
  });

  it('counts queries and rows, from bindings and from the API', async () => {
    const fresh = await create('counted');
    const host = await deploy('counted', fresh);
    await call({ method: 'exec', args: ['CREATE TABLE t (a)'] }, host);
    await call(
      {
        batch: [
          ['INSERT INTO t VALUES (?), (?)', 1, 2],
          ['INSERT INTO t VALUES (?)', 3],
        ],
      },
      host,
    );
    await call({ method: 'all', sql: 'SELECT * FROM t' }, host);
    await d1('execute', 'counted', '--remote', '--command', 'SELECT * FROM t');
    const info = await eventually(async () => {
      const told = JSON.parse(await d1('info', 'counted', '--json'));
      return told.read_queries_24h === 2 && told.write_queries_24h === 3 ? told : false;
    });
    assert.ok(info.rows_read_24h >= 6 && info.rows_written_24h >= 3, JSON.stringify(info));
    assert.equal(info.num_tables, 1);
    assert.ok(info.database_size > 0);
    assert.deepEqual(JSON.parse((await d1('insights', 'counted', '--json')).replace(/^[^[]*/, '')), []);
  });

  it('deploy makes a database that has no id, and refuses one that is not there', async () => {
    const config = { name: 'auto', main: 'index.js', compatibility_date: '2026-11-01' };
    const files = { 'index.js': CALLER };
    const auto = await edge.project({ ...config, d1_databases: [{ binding: 'DB' }] }, files);
    await edge.deployed(['deploy'], { cwd: auto });
    await call({ method: 'exec', args: ['CREATE TABLE kept (a)'] }, edge.host('auto'));
    await edge.deployed(['deploy'], { cwd: auto });
    assert.deepEqual((await call({ method: 'all', sql: 'SELECT * FROM kept' }, edge.host('auto'))).ok.results, []);
    const bad = [{ binding: 'DB', database_name: 'x', database_id: crypto.randomUUID() }];
    const refused = await edge.wrangler(['deploy'], {
      cwd: await edge.project({ ...config, d1_databases: bad }, files),
    });
    assert.match(refused.stdout + refused.stderr, /binding DB of type d1 must have a valid `id`.*10021/s);
  });

  it('a Worker whose database was deleted is told so', async () => {
    const host = await deploy('orphan', await create('doomed'));
    assert.equal((await call({ method: 'first', sql: 'SELECT 1 AS a' }, host)).ok.a, 1);
    await d1('delete', 'doomed', '-y');
    assert.equal(
      (await call({ method: 'first', sql: 'SELECT 1 AS a' }, host)).error,
      'D1_ERROR: The database was deleted.',
    );
  });
});

describe('a database’s process', () => {
  it('is no Worker of the account', async () => {
    await all('SELECT 1');
    assert.ok(await processOf(id));
    const scripts = (await edge.api(`/accounts/${edge.accountId}/workers/scripts`)).body.result;
    assert.ok(scripts.every(({ id: name }: { id: string }) => !name.includes('d1')));
    const used = (await edge.api('/../../selvedge/usage')).body.result.rows;
    assert.ok(used.every(({ script }: { script: string }) => !script.includes('d1/')));
  });
});

describe('accounts', () => {
  it('do not see each other’s databases', async () => {
    const made = await edge.selvedge(['account', 'create', '--name', 'Stranger', '--subdomain', 'stranger']);
    const stranger = /[0-9a-f]{32}/.exec(made.stdout)![0];
    const created = await edge.selvedge(['token', 'create', '--account', stranger, '--name', 'theirs']);
    const token = /[\w-]{43}/.exec(created.stdout)![0];
    const base = `/accounts/${stranger}/d1/database`;
    for (const [method, path, body] of [
      ['GET', `${base}/${id}`],
      ['GET', `${base}/first`],
      ['DELETE', `${base}/${id}`],
      ['POST', `${base}/${id}/query`, { sql: 'SELECT 1' }],
      ['POST', `${base}/${id}/export`, {}],
      ['POST', `${base}/${id}/import`, { action: 'init', etag: '0'.repeat(32) }],
      ['GET', `${base}/${id}/time_travel/bookmark`],
    ] as [string, string, object?][]) {
      const answer = await edge.api(path, { method, body, token });
      assert.deepEqual([answer.status, answer.body.errors[0].code], [404, 7404], path);
    }
    const own = { env: { CLOUDFLARE_ACCOUNT_ID: stranger, CLOUDFLARE_API_TOKEN: token } };
    const project = await edge.project(
      {
        name: 'thief',
        main: 'index.js',
        compatibility_date: '2026-11-01',
        d1_databases: [{ binding: 'DB', database_name: 'first', database_id: id }],
      },
      { 'index.js': CALLER },
    );
    const refused = await edge.wrangler(['deploy'], { cwd: project, ...own });
    assert.match(refused.stdout + refused.stderr, /10021/);
    const question = {
      operationName: 'getD1MetricsOverviewQuery',
      query: '',
      variables: { accountTag: edge.accountId },
    };
    const { body } = await edge.api('/graphql', { method: 'POST', body: question, token });
    assert.match(body.errors[0].message, /not authorized/);
  });
});

it('all of it is there after a restart', async () => {
  await exec('CREATE TABLE durable (a)');
  await call({ method: 'run', sql: 'INSERT INTO durable VALUES (?)', params: ['yes'] });
  await edge.stop();
  const again = await startEdge({ dataDir: edge.dataDir });
  try {
    const body = JSON.stringify({ method: 'first', sql: 'SELECT a FROM durable', args: ['a'] });
    const answer = await again.request(again.host('one'), '/', { method: 'POST', body });
    assert.equal(answer.json().ok, 'yes');
  } finally {
    await again.close();
  }
});

async function idOf(name: string): Promise<string> {
  return (JSON.parse(await d1('list', '--json')) as any[]).find((each) => each.name === name).uuid;
}
