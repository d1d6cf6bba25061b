/** The SQL tools of the system Worker, against SQLite itself. */
import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { describe, it } from 'node:test';
// @ts-expect-error: system Workers are plain JavaScript
import { dump } from '../../system-workers/d1-dump.js';
// @ts-expect-error: system Workers are plain JavaScript
import { statements } from '../../system-workers/d1-statements.js';

describe('statements', () => {
  for (const [what, sql, expected] of [
    ['one, with and without its semicolon', ' select 1 ;', ['select 1']],
    ['several', 'select 1;\nselect 2; select 3', ['select 1', 'select 2', 'select 3']],
    ['none in comments and semicolons alone', ' -- a; b\n/* c; */ ;; ', []],
    ['a comment that is not closed', 'select 1; /* select 2;', ['select 1']],
    [
      'semicolons in texts and names',
      `select 'a;''b;' , ";", \`;\`, [;]; select 2`,
      [`select 'a;''b;' , ";", \`;\`, [;]`, 'select 2'],
    ],
    ['a comment inside', 'select -- ;\n 1; select 2', ['select -- ;\n 1', 'select 2']],
    ['a text that is not closed, whole', "select 'a; select 2;", ["select 'a; select 2;"]],
    [
      'triggers, whole',
      'create trigger t after insert on a begin update b set x = case when 1 then 2 end; delete from c; end; select 1',
      [
        'create trigger t after insert on a begin update b set x = case when 1 then 2 end; delete from c; end',
        'select 1',
      ],
    ],
    [
      'temporary triggers, whole',
      'CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END; SELECT 2;',
      ['CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END', 'SELECT 2'],
    ],
    ['tables of such names', 'create table trigger_x (a); select 1', ['create table trigger_x (a)', 'select 1']],
  ] as [string, string, string[]][]) {
    it(`finds ${what}`, () => assert.deepEqual(statements(sql), expected));
  }

  it('takes as long as the text is, whatever is in it', () => {
    for (const part of ["'", '/*', '--', '"x', 'a ', ';', '/* * ']) {
      const started = performance.now();
      statements(part.repeat(200_000));
      // Quadratic time would be minutes.
      assert.ok(performance.now() - started < 5_000, part);
    }
  });
});

describe('a dump', () => {
  const open = (sql: string) => {
    const db = new DatabaseSync(':memory:');
    db.exec(sql);
    return db;
  };
  const lines = (db: DatabaseSync, options = {}): string[] => [
    ...dump((text: string) => db.prepare(text).all().map(Object.values), options),
  ];
  const source = `CREATE TABLE parents (id INTEGER PRIMARY KEY AUTOINCREMENT, "na""me" TEXT);
    CREATE TABLE children (parent INTEGER REFERENCES parents (id), big INTEGER, half REAL, data BLOB, twice GENERATED ALWAYS AS (big * 2));
    CREATE INDEX by_parent ON children (parent);
    CREATE VIEW names AS SELECT "na""me" FROM parents;
    CREATE TRIGGER t AFTER DELETE ON parents BEGIN DELETE FROM children WHERE parent = old.id; END;
    INSERT INTO parents ("na""me") VALUES ('it''s; a\ntext'), (NULL);
    INSERT INTO children (parent, big, half, data) VALUES (1, 9007199254740993, 1.0, x'00ff'), (2, -1, 1e300, 'text');
    DELETE FROM parents WHERE id = 2`;

  it('makes the same database again', () => {
    const db = open(source);
    const text = lines(db).join('\n');
    const again = open(text);
    assert.deepEqual(lines(again), lines(db));
    assert.match(text, /9007199254740993,1\.0,X'00FF'/);
    assert.match(
      text,
      /DELETE FROM sqlite_sequence;\nINSERT INTO "sqlite_sequence" \("name","seq"\) VALUES\('parents',2\);/,
    );
  });

  it('leaves out what is not wanted', () => {
    const db = open(source);
    assert.ok(lines(db, { noData: true }).every((line) => !line.startsWith('INSERT')));
    assert.ok(lines(db, { noSchema: true }).every((line) => !/^CREATE/.test(line)));
    const some = lines(db, { tables: ['children'] }).join('\n');
    assert.match(some, /CREATE TABLE children[\s\S]*CREATE INDEX/);
    assert.doesNotMatch(some, /parents \(id INTEGER PRIMARY|CREATE VIEW|sqlite_sequence/);
  });

  it('refuses virtual tables, and leaves out what belongs to the runtime', () => {
    assert.throws(() => lines(open('CREATE VIRTUAL TABLE f USING fts5 (a)')), /Virtual Tables/);
    assert.doesNotMatch(lines(open('CREATE TABLE _cf_KV (a); CREATE TABLE t (a)')).join('\n'), /_cf_/);
  });
});
