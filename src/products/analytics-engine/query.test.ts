/** Queries on a real file of data points: the dialect of Analytics Engine, and what a query must not do. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { type DataPoint, PointStore } from '../../state/points.ts';
import { ANALYTICS } from './limits.ts';
import { runQuery } from './run.ts';
import { QueryError } from './tokens.ts';

const NOW = Date.UTC(2026, 10, 20, 16, 17, 42);
const HOUR = 3600;
const directory = mkdtempSync(join(tmpdir(), 'points-'));
const path = join(directory, 'account.sqlite');
after(() => rmSync(directory, { recursive: true }));

const point = (ago: number, dataset: string, index: string, blobs: string[], doubles: number[]): DataPoint => ({
  dataset,
  timestamp: NOW / 1000 - ago,
  index,
  blobs,
  doubles,
});
const store = new PointStore(path, { datasets: 100, bytes: 1e9 });
store.write([
  point(30 * HOUR, 'weather', 'a', ['Oslo', 'old'], [-5]),
  point(2 * HOUR, 'weather', 'a', ['Oslo', "it's"], [1.5, 100]),
  point(2 * HOUR - 60, 'weather', 'b', ['Rome', 'ERROR: x'], [20, 7]),
  point(600, 'weather', 'b', ['Rome', 'error: y'], [22, 1]),
  point(30, 'weather', 'a', ['Oslo', ''], [3, 1]),
  point(30, 'other-set', 'x', [], []),
  point(30, 'points', 'p', ['shadow'], [1]),
]);
store.close();

const ask = (sql: string, at = path) =>
  JSON.parse(runQuery(at, sql, NOW)) as { meta: any[]; data: any[]; rows: number };
const rows = (sql: string) => ask(sql).data.map((row) => Object.values(row));
const value = (expression: string) => rows(`SELECT ${expression} AS v`)[0]![0];

describe('the examples of the documentation', () => {
  it('text without a table', () => {
    assert.deepEqual(ask("SELECT 'Hello Workers Analytics Engine' AS message"), {
      meta: [{ name: 'message', type: 'String' }],
      data: [{ message: 'Hello Workers Analytics Engine' }],
      rows: 1,
      rows_before_limit_at_least: 1,
    });
  });

  it('tables are the datasets with points, also for an account that has none', () => {
    assert.deepEqual(rows('SHOW TABLES'), [['other-set'], ['points'], ['weather']]);
    assert.deepEqual(ask('show tables', join(directory, 'none.sqlite')).data, []);
    assert.deepEqual(rows('SHOW TIMEZONE'), [['Etc/UTC']]);
  });

  it('columns with other names, of the last day', () => {
    const { meta, data } =
      ask(`SELECT timestamp, blob1 AS location_id, double1 AS inside_temp, _sample_interval FROM weather
      WHERE timestamp > NOW() - INTERVAL '1' DAY ORDER BY timestamp LIMIT 1`);
    assert.deepEqual(meta, [
      { name: 'timestamp', type: 'DateTime' },
      { name: 'location_id', type: 'String' },
      { name: 'inside_temp', type: 'Float64' },
      { name: '_sample_interval', type: 'UInt32' },
    ]);
    assert.deepEqual(data, [
      { timestamp: '2026-11-20 14:17:42', location_id: 'Oslo', inside_temp: 1.5, _sample_interval: 1 },
    ]);
  });

  it('sums by index that regard sampling', () => {
    const { meta, data } = ask(`SELECT index1 AS location_id, SUM(_sample_interval) AS n,
      SUM(_sample_interval * double1) / SUM(_sample_interval) AS average FROM weather
      WHERE timestamp > NOW() - INTERVAL '7' DAY GROUP BY index1 ORDER BY index1`);
    assert.deepEqual(data, [
      { location_id: 'a', n: '3', average: (1.5 + 3 - 5) / 3 },
      { location_id: 'b', n: '2', average: 21 },
    ]);
    assert.deepEqual(
      meta.map(({ type }) => type),
      ['String', 'UInt64', 'Float64'],
    );
  });

  it('a time series in steps of five minutes', () => {
    assert.deepEqual(
      rows(`SELECT intDiv(toUInt32(timestamp), 300) * 300 AS t, blob1 AS city, count() AS n FROM weather
        WHERE timestamp >= NOW() - INTERVAL '1' DAY AND double1 > 0 GROUP BY t, city ORDER BY t, city DESC`),
      [
        [String(NOW / 1000 - 2 * HOUR - 162), 'Rome', '1'],
        [String(NOW / 1000 - 2 * HOUR - 162), 'Oslo', '1'],
        [String(NOW / 1000 - 762), 'Rome', '1'],
        [String(NOW / 1000 - 162), 'Oslo', '1'],
      ],
    );
  });

  it('a time series by hour', () => {
    assert.deepEqual(
      rows(`SELECT toStartOfInterval(timestamp, INTERVAL '1' HOUR) AS hour, sum(_sample_interval) AS count FROM weather
        WHERE timestamp > '2026-11-20 00:00:00' GROUP BY hour ORDER BY hour ASC`),
      [
        ['2026-11-20 14:00:00', '2'],
        ['2026-11-20 16:00:00', '2'],
      ],
    );
  });

  it('quantiles with weights, in both forms', () => {
    assert.deepEqual(
      rows(`SELECT quantileExactWeighted(0.5)(double1, _sample_interval) AS median,
        quantileWeighted(0.99, double1, _sample_interval) AS p99, quantileExactWeighted(0.5)(double1, double2) AS heavy FROM weather`),
      [[3, 22, 1.5]],
    );
  });

  it('conditions, groups that are left out, and queries of queries', () => {
    assert.deepEqual(
      rows(
        `SELECT city, n FROM (SELECT blob1 AS city, count() AS n, avg(double1) AS t FROM weather GROUP BY city HAVING t > 10) LIMIT ALL`,
      ),
      [['Rome', '2']],
    );
    assert.deepEqual(
      rows(`SELECT countIf(double1 <= 0) AS a, sumIf(double1, blob1 = 'Rome') AS b, avgIf(double1, blob1 = 'Rome') AS c,
        argMax(blob1, double1) AS d, argMin(blob1, double1) AS e, count(DISTINCT blob1) AS f, first_value(blob2) AS g FROM weather`),
      [['1', 42, 21, 'Rome', 'Oslo', '2', 'old']],
    );
    assert.deepEqual(rows(`SELECT if(double1 <= 0, 'FREEZING', 'NOT') AS x FROM weather ORDER BY double1 LIMIT 1`), [
      ['FREEZING'],
    ]);
    assert.deepEqual(rows('SELECT double1 AS d FROM weather ORDER BY d OFFSET 3'), [[20], [22]]);
  });

  it('patterns with and without regard to case', () => {
    const found = (where: string) => rows(`SELECT double1 AS d FROM weather WHERE ${where}`).flat();
    assert.deepEqual(found("blob2 LIKE 'error%'"), [22]);
    assert.deepEqual(found("blob2 ILIKE 'error%'"), [20, 22]);
    assert.deepEqual(found("blob2 NOT ILIKE 'error%' AND blob2 NOT LIKE '_ld'"), [1.5, 3]);
    assert.deepEqual(found("blob2 = 'it''s'"), [1.5]);
  });
});

describe('functions', () => {
  const cases: [expression: string, value: unknown][] = [
    ["toDateTime('355924804')", '1981-04-12 12:00:04'],
    ['toDateTime(355924804)', '1981-04-12 12:00:04'],
    ["toUnixTimestamp(toDateTime('1981-04-12 12:00:04', 'Etc/UTC'))", '355924804'],
    ['now()', '2026-11-20 16:17:42'],
    ['today()', '2026-11-20'],
    ["formatDateTime(now(), '%Y-%m-%d %H:%i:%S')", '2026-11-20 16:17:42'],
    ["now() - INTERVAL '1' MONTH - INTERVAL 17 MINUTE", '2026-10-20 16:00:42'],
    ["toDateTime('2026-03-31 00:00:00') - INTERVAL '1' MONTH", '2026-02-28 00:00:00'],
    ["toStartOfInterval(now(), INTERVAL '15' MINUTE)", '2026-11-20 16:15:00'],
    ["toStartOfInterval(now(), INTERVAL '1' DAY, 'UTC')", '2026-11-20 00:00:00'],
    ["toStartOfWeek(toDateTime('2025-10-29 00:00:00'))", '2025-10-27 00:00:00'],
    ['toStartOfMonth(now())', '2026-11-01 00:00:00'],
    ['toStartOfYear(now())', '2026-01-01 00:00:00'],
    ["toDayOfWeek(toDateTime('2025-11-02 00:00:00'))", '7'],
    ['toYYYYMM(now())', '202611'],
    ["extract(SECOND from toDateTime('2022-06-06 11:30:15'))", '15'],
    ["position(':' IN 'hello: world')", '6'],
    ["substring('hello: world', 1, position(':' IN 'hello: world')-1)", 'hello'],
    ["format('blob1: {}', 'x')", 'blob1: x'],
    ["startsWith('prefix ...', 'prefix')", '1'],
    ['intDiv(7, 2)', '3'],
    ['7 / 2', 3.5],
    ['log(exp(2))', 2],
    ['floor(3.14, 1) + ceil(3.14, 1)', 6.300000000000001],
    ['round(5.5)', 6],
    ["lowerUTF8('ÄB')", 'äb'],
    ['1 BETWEEN 0 AND 2', '1'],
    ["'a' NOT IN ('b', 'c')", '1'],
  ];
  for (const [expression, expected] of cases) {
    it(expression, () => assert.deepEqual(value(expression), expected));
  }
});

describe('formats', () => {
  it('are JSON, one object a line, and columns with tabs between', () => {
    assert.equal(
      runQuery(path, 'SELECT blob1, count() AS n FROM weather GROUP BY blob1 ORDER BY 1 FORMAT JSONEachRow;', NOW),
      '{"blob1":"Oslo","n":"3"}\n{"blob1":"Rome","n":"2"}\n',
    );
    assert.equal(
      runQuery(path, "SELECT 'a\tb' AS x, NULL AS y, 1.5 AS z format TabSeparated", NOW),
      'a\\tb\t\\N\t1.5\n',
    );
    assert.throws(() => ask('SELECT 1 FORMAT CSV'), /FORMAT CSV is not supported: JSON/);
  });
});

describe('a query must not', () => {
  const refused = (sql: string, why: RegExp) =>
    assert.throws(
      () => ask(sql),
      (error: Error) => error instanceof QueryError && why.test(error.message),
    );

  it('write, attach, set or be more than one statement', () => {
    for (const sql of [
      'DELETE FROM weather',
      'INSERT INTO weather (index1) VALUES (1)',
      'DROP VIEW weather',
      "ATTACH '/etc/passwd' AS x",
      'PRAGMA query_only = 0',
      'VACUUM',
      'EXPLAIN SELECT 1',
      '',
    ]) {
      refused(sql, /^Only SELECT and SHOW TABLES are served\.$/);
    }
    refused('SELECT 1; DELETE FROM weather', /One statement at a time/);
    refused("SELECT 1 -- ;\n; ATTACH 'x' AS y", /One statement at a time/);
    refused('WITH x AS (SELECT 1) DELETE FROM points', /not authorized|cannot modify|readonly/);
  });

  it('read anything but the datasets of the account', () => {
    for (const table of [
      'sqlite_master',
      'sqlite_temp_master',
      'main.points',
      'datasets',
      'main.datasets',
      'temp.sqlite_master',
    ]) {
      refused(`SELECT * FROM ${table}`, /not authorized|prohibited|no such table/);
    }
    for (const table of ["pragma_table_info('points')", 'pragma_database_list', "json_each('[1]')", 'dbstat']) {
      refused(`SELECT * FROM ${table}`, /not authorized|prohibited|no such table/);
    }
    refused('SELECT id FROM weather', /no such column/);
    refused('SELECT * FROM absent', /no such table: absent/);
    // A dataset that is called like our table is no way to it.
    assert.deepEqual(rows('SELECT blob1 FROM points'), [['shadow']]);
    assert.deepEqual(rows('SELECT index1 FROM "other-set"'), [['x']]);
  });

  it('call functions that are not listed', () => {
    for (const call of [
      "load_extension('x')",
      "readfile('/etc/passwd')",
      'randomblob(10)',
      'sqlite_version()',
      "printf('%s', 1)",
    ]) {
      refused(`SELECT ${call}`, /not authorized|no such function/);
    }
  });

  it('run without end, or give more than a client can take', () => {
    refused('WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n', /not authorized/);
    refused(
      `SELECT replace(replace('${'a'.repeat(3000)}', 'a', '${'b'.repeat(3000)}'), 'b', 'cc')`,
      /too big|too long/i,
    );
    const many = Array.from({ length: 8 }, (_, i) => `weather AS w${i}`).join(', ');
    refused(`SELECT w0.index1 FROM ${many}`, new RegExp(`more than ${ANALYTICS.resultRows} rows`));
  });

  it('be misunderstood in silence', () => {
    refused('SELECT timestamp - 3600 FROM weather', /timestamp is a datetime: use INTERVAL/);
    refused('SELECT NOW() + 60', /NOW is a datetime/);
    refused("SELECT INTERVAL '1' DAY", /INTERVAL is added/);
    refused("SELECT now() - INTERVAL 'x' DAY", /INTERVAL is a whole number/);
    refused(
      "SELECT toDateTime('2022-12-01 16:17:00', 'America/New_York')",
      /time zone "America\/New_York" is not supported/,
    );
    refused("SELECT blob1 - INTERVAL '1' DAY FROM weather", /"Oslo" is not a datetime/);
    refused('SELECT blob1, blob1 FROM weather', /same name/);
    refused('SELECT topK(3)(blob1) FROM weather', /no such function: topK/);
    assert.equal(rows(`SELECT count() FROM weather WHERE timestamp > ${NOW / 1000 - 700}`)[0]![0], '2');
  });
});
