/** Analytics Engine with the real wrangler and real Workers: points are written, and queried by SQL through the API. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { eventually, startEdge } from './harness.ts';

const edge = await startEdge();
after(() => edge.close());

/** Writes the points of the body: all at once, or each in a turn of its own; tells the error. */
const WRITER = `
const written = async (env, { points, times = 1, apart }) => {
  for (let i = 0; i < times; i++) {
    for (const point of points) {
      const blobs = point.blobs?.map((blob) => (blob && blob.bytes ? new Uint8Array(blob.bytes) : blob));
      env.AE.writeDataPoint({ ...point, ...(blobs && { blobs }) });
    }
    if (apart) await new Promise((resolve) => setTimeout(resolve, 1));
  }
};
export default { async fetch(request, env) {
  try {
    await written(env, await request.json());
    return Response.json({ ok: true });
  } catch (error) {
    return Response.json({ error: error.message, name: error.name });
  }
} }`;

async function deploy(name: string, config: Record<string, unknown> = {}, env: Record<string, string> = {}) {
  const cwd = await edge.project(
    {
      name,
      main: 'index.js',
      compatibility_date: '2026-11-01',
      analytics_engine_datasets: [{ binding: 'AE', dataset: 'weather' }],
      ...config,
    },
    { 'index.js': WRITER },
  );
  return edge.wrangler(['deploy'], { cwd, env });
}
assert.equal((await deploy('writer')).code, 0);

async function write(body: object, script = 'writer', host = edge.host(script)): Promise<any> {
  const answer = await edge.request(host, '/', { method: 'POST', body: JSON.stringify(body) });
  assert.equal(answer.status, 200, answer.text);
  return answer.json();
}

async function sql(text: string, { account = edge.accountId, token = edge.token, method = 'POST' } = {}) {
  const url = `${edge.apiUrl}/accounts/${account}/analytics_engine/sql`;
  const headers = { authorization: `Bearer ${token}` };
  const response =
    method === 'GET'
      ? await fetch(`${url}?query=${encodeURIComponent(text)}`, { headers })
      : await fetch(url, { method, headers, body: text });
  return { status: response.status, type: response.headers.get('content-type'), text: await response.text() };
}
const rows = async (text: string): Promise<any[]> => JSON.parse((await sql(text)).text).data ?? [];
/** Waits until as many points are there. */
const count = (n: number, where: string) =>
  eventually(async () => (await rows(`SELECT count() AS n FROM weather WHERE ${where}`))[0]?.n === String(n));

describe('points', () => {
  it('are stored with their blobs, doubles and index, and found by the hour', async () => {
    const { ok } = await write({
      points: [
        { blobs: ['Seattle', 'USA', null, { bytes: [0xc3, 0xbc] }], doubles: [25, 0.5], indexes: ['a3cd45'] },
        { blobs: ['Žilina 🎈'], doubles: [-3], indexes: ['a3cd45'] },
        {},
      ],
    });
    assert.equal(ok, true);
    await count(2, "index1 = 'a3cd45'");
    const [first] = await rows("SELECT * FROM weather WHERE blob1 = 'Seattle'");
    assert.deepEqual(
      [first.dataset, first.blob1, first.blob2, first.blob3, first.blob4, first.blob20, first.double1, first.double2],
      ['weather', 'Seattle', 'USA', '', 'ü', '', 25, 0.5],
    );
    assert.equal(first._sample_interval, 1);
    assert.ok(Math.abs(Date.parse(`${first.timestamp.replace(' ', 'T')}Z`) - Date.now()) < 60_000);
    const series =
      await rows(`SELECT toStartOfInterval(timestamp, INTERVAL '1' DAY) AS day, index1, SUM(_sample_interval) AS n,
      SUM(_sample_interval * double1) / SUM(_sample_interval) AS average FROM weather
      WHERE timestamp > NOW() - INTERVAL '1' HOUR AND index1 = 'a3cd45' GROUP BY day, index1 ORDER BY day`);
    assert.deepEqual(
      series.map(({ index1, n, average }) => [index1, n, average]),
      [['a3cd45', '2', 11]],
    );
    assert.equal((await rows('SELECT blob1 FROM weather WHERE double1 = -3'))[0].blob1, 'Žilina 🎈');
  });

  it('of one turn and of many all arrive, after the answer', async () => {
    await write({ points: [{ indexes: ['turns'], doubles: [1] }], times: 250 });
    await write({ points: [{ indexes: ['turns'], doubles: [1] }], times: 100, apart: true });
    await Promise.all(
      Array.from({ length: 50 }, () => write({ points: [{ indexes: ['turns'], doubles: [1] }], times: 5 })),
    );
    await count(600, "index1 = 'turns'");
  });

  it('above a limit throw, and are not stored', async () => {
    const tooMuch = async (point: object, why: RegExp) => {
      const { name, error } = await write({ points: [{ indexes: ['limits'] }, point] });
      assert.equal(name, 'TypeError');
      assert.match(error, why);
    };
    await tooMuch({ blobs: Array(21).fill('x') }, /Maximum of 20 blobs/);
    await tooMuch({ doubles: Array(21).fill(1) }, /Maximum of 20 doubles/);
    await tooMuch({ indexes: ['a', 'b'] }, /Maximum of 1 indexes/);
    await tooMuch({ indexes: ['ä'.repeat(49)] }, /exceeds 96 bytes/);
    await tooMuch({ blobs: ['x'.repeat(16_384), 'y'] }, /exceeds 16384 bytes/);
    const { error } = await write({ points: [{ indexes: ['many'] }], times: 251 });
    assert.match(error, /Maximum of 250 data points/);
    await write({ points: [{ indexes: ['i'.repeat(96)], blobs: ['x'.repeat(16_384)], doubles: Array(20).fill(1.5) }] });
    await count(1, `index1 = '${'i'.repeat(96)}' AND length(blob1) = 16384 AND double20 = 1.5`);
    // The points before the one that threw are stored.
    await count(5, "index1 = 'limits'");
    await count(250, "index1 = 'many'");
  });

  it('are kept when the data process is killed a second later', async () => {
    await write({ points: [{ indexes: ['before'] }] });
    await count(1, "index1 = 'before'");
    const { body } = await edge.api('/../../selvedge/status');
    process.kill(body.result.processes.find(({ name }: { name: string }) => name === 'data').pid, 'SIGKILL');
    await eventually(async () => {
      await write({ points: [{ indexes: ['after'] }] });
      return (await rows("SELECT index1 FROM weather WHERE index1 = 'after'")).length > 0;
    });
    await count(1, "index1 = 'before'");
  });
});

describe('the API', () => {
  it('lists datasets, takes GET and POST, and gives each format', async () => {
    assert.equal((await deploy('second', { analytics_engine_datasets: [{ binding: 'AE' }] })).code, 0);
    await write({ points: [{ indexes: ['x'] }] }, 'second');
    await eventually(async () => (await rows('SHOW TABLES')).length === 2);
    assert.deepEqual(await rows('SHOW TABLES'), [{ dataset: 'AE' }, { dataset: 'weather' }]);
    const json = await sql('SELECT 1 AS one', { method: 'GET' });
    assert.deepEqual([json.status, json.type], [200, 'application/json']);
    assert.deepEqual(JSON.parse(json.text).data, [{ one: '1' }]);
    assert.equal((await sql('SELECT 1 AS one FORMAT JSONEachRow')).text, '{"one":"1"}\n');
    assert.equal((await sql("SELECT 1, 'x' FORMAT TabSeparated")).text, '1\tx\n');
  });

  it('refuses all but queries, with the reason', async () => {
    for (const [text, why] of [
      ['DROP TABLE weather', /Only SELECT and SHOW TABLES/],
      ["ATTACH '/etc/passwd' AS p", /Only SELECT/],
      ['SELECT 1; SELECT 2', /One statement/],
      ['SELECT * FROM sqlite_master', /not authorized|prohibited/],
      ['SELECT * FROM main.points', /not authorized|prohibited/],
      ["SELECT load_extension('x')", /not authorized|no such function/],
      ['SELECT nope FROM weather', /no such column: nope/],
      ['SELEC', /Only SELECT/],
    ] as const) {
      const { status, text: answer } = await sql(text);
      const [error] = JSON.parse(answer).errors;
      assert.deepEqual([status, error.code], [400, 10001], text);
      assert.match(error.message, why);
    }
    assert.equal((await sql('x'.repeat(70_000))).status, 413);
    assert.equal(Number((await rows('SELECT count() AS n FROM weather'))[0].n) > 800, true);
  });

  it('shows an account its own datasets only, also where another has one of the same name', async () => {
    const created = await edge.selvedge(['account', 'create', '--name', 'Other', '--subdomain', 'other']);
    const account = /[0-9a-f]{32}/.exec(created.stdout)![0];
    const made = await edge.selvedge(['token', 'create', '--account', account]);
    const token = made.stdout.trim().split('\n').at(-1)!;
    assert.deepEqual(JSON.parse((await sql('SHOW TABLES', { account, token })).text).data, []);
    const unknown = await sql('SELECT * FROM weather', { account, token });
    assert.match(JSON.parse(unknown.text).errors[0].message, /no such table: weather/);
    assert.equal((await sql('SHOW TABLES', { account: edge.accountId, token })).status, 403);
    const env = { CLOUDFLARE_ACCOUNT_ID: account, CLOUDFLARE_API_TOKEN: token };
    assert.equal((await deploy('writer', {}, env)).code, 0);
    await write({ points: [{ indexes: ['theirs'] }] }, 'writer', `writer.other.${edge.workersDomain}`);
    const theirs = async () => JSON.parse((await sql('SELECT index1 FROM weather', { account, token })).text).data;
    await eventually(async () => (await theirs())?.length === 1);
    assert.deepEqual(await theirs(), [{ index1: 'theirs' }]);
    assert.deepEqual(await rows("SELECT index1 FROM weather WHERE index1 = 'theirs'"), []);
  });

  it('deploy refuses a name that SQL cannot say', async () => {
    const { code, stdout, stderr } = await deploy('bad', {
      analytics_engine_datasets: [{ binding: 'AE', dataset: 'a b' }],
    });
    assert.notEqual(code, 0);
    assert.match(stdout + stderr, /The binding AE has no valid "dataset".*10006/s);
  });
});
