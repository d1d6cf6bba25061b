/** What an operator sees: metrics, health, the request log, and the live status. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { eventually, startEdge } from './harness.ts';

const ROOT = join(import.meta.dirname, '..');
const edge = await startEdge({ args: ['--edges', '1'], config: { limits: { header_count: 50 } } });
after(() => edge.close());
const origin = edge.apiUrl.replace('/client/v4', '');
const welcome = edge.host('welcome');

/** A request to the control API's port with these headers. */
function ask(path: string, headers: Record<string, string> = {}): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const { port, hostname } = new URL(origin);
    const asked = request({ port, host: hostname, path, headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode!, text })).on('error', reject);
    });
    asked.on('error', reject).end();
  });
}

/** Value of one series in the text of a scrape. */
function value(text: string, series: string): number | undefined {
  const line = text.split('\n').find((each) => each.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}

describe('/metrics', () => {
  it('counts requests by Worker, status and outcome, with their times, and limits that were hit', async () => {
    for (let i = 0; i < 5; i++) await edge.request(welcome);
    await edge.request('nobody.example');
    const many = Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`x-${i}`, '1']));
    assert.equal((await edge.request(welcome, '/', { headers: many })).status, 431);
    const text = await eventually(async () => {
      const scrape = await ask('/metrics');
      assert.equal(scrape.status, 200);
      return (value(scrape.text, 'selvedge_responses_total{status="431"}') ?? 0) > 0 && scrape.text;
    });
    const labels = `{account="${edge.accountId}",script="welcome"}`;
    assert.equal(value(text, `selvedge_worker_requests_total${labels}`), 5);
    assert.equal(value(text, `selvedge_worker_errors_total${labels}`), 0);
    assert.equal(value(text, 'selvedge_responses_total{status="200"}'), 5);
    assert.equal(value(text, 'selvedge_outcomes_total{outcome="unknownHost"}'), 1);
    assert.equal(value(text, 'selvedge_limit_hits_total{limit="header_count"}'), 1);
    assert.equal(value(text, 'selvedge_request_duration_seconds_count{stage="total"}'), 7);
    assert.equal(value(text, 'selvedge_request_duration_seconds_bucket{stage="worker",le="+Inf"}'), 5);
    assert.ok(value(text, `selvedge_worker_memory_bytes${labels}`)! > 1e6);
    assert.ok(value(text, 'selvedge_ledger_sequence')! > 0);
    assert.equal(value(text, 'selvedge_isolates{state="running"}'), 1);
  });

  it('says why isolate processes ended', async () => {
    const { text: status } = await ask('/selvedge/status', { authorization: `Bearer ${edge.token}` });
    process.kill(JSON.parse(status).result.isolates[0].pid, 'SIGKILL');
    await eventually(async () => {
      const { text } = await ask('/metrics');
      return value(text, 'selvedge_isolate_exits_total{reason="exception"}') === 1;
    });
    assert.equal((await edge.request(welcome)).status, 200);
  });

  it('are for who asks from this machine, not through a proxy, nor from a web page in its browser', async () => {
    for (const headers of [
      { 'x-forwarded-for': '192.0.2.1' },
      { forwarded: 'for=192.0.2.1' },
      { host: 'evil.example' },
      { host: '127.0.0.1.evil.example' },
    ] as Record<string, string>[]) {
      const { status, text } = await ask('/metrics', headers);
      assert.equal(status, 403, JSON.stringify(headers));
      assert.doesNotMatch(text, /selvedge_/);
    }
  });

  it('have all that the dashboard shows', async () => {
    const { text } = await ask('/metrics');
    const known = new Set(
      [...text.matchAll(/^# TYPE (\w+) (\w+)/gm)].flatMap(([, name, type]) =>
        type === 'histogram' ? [`${name}_bucket`] : [name],
      ),
    );
    const dashboard = JSON.parse(readFileSync(join(ROOT, 'ops/grafana-dashboard.json'), 'utf8'));
    const shown = new Set<string>();
    for (const panel of dashboard.panels)
      for (const { expr } of panel.targets) for (const [name] of expr.matchAll(/selvedge_\w+/g)) shown.add(name);
    assert.ok(shown.size > 10);
    assert.deepEqual(
      [...shown].filter((name) => !known.has(name)),
      [],
    );
  });
});

describe('health', () => {
  it('is told at the API port and by each edge, whatever the host', async () => {
    for (const path of ['/live', '/ready']) {
      assert.equal((await ask(path)).status, 200, path);
      const { status, text } = await edge.request('any.host.example', `/.well-known/selvedge${path}`);
      assert.deepEqual([status, text], [200, `${path.slice(1)}\n`]);
    }
    assert.equal((await edge.request('any.host.example', '/.well-known/selvedge/other')).status, 404);
  });
});

describe('the request log', () => {
  it('has a record of each request, for the operator only', async () => {
    const { headers } = await edge.request(welcome, '/?token=secret', {
      headers: { authorization: 'Bearer secret' },
    });
    const directory = join(edge.dataDir, 'logs');
    const record = await eventually(() => {
      for (const name of readdirSync(directory)) {
        assert.equal(statSync(join(directory, name)).mode & 0o007, 0);
        const text = readFileSync(join(directory, name), 'utf8');
        assert.doesNotMatch(text, /secret/);
        const line = text.split('\n').find((each) => each.includes(String(headers['cf-ray'])));
        if (line) return JSON.parse(line);
      }
    });
    assert.deepEqual(
      [
        record.host,
        record.path,
        record.method,
        record.status,
        record.script,
        record.outcome,
        record.protocol,
        record.colo,
      ],
      [welcome, '/', 'GET', 200, 'welcome', 'ok', 'HTTP/1.1', 'DEV'],
    );
    for (const name of ['route_ms', 'wake_ms', 'head_ms', 'total_ms']) assert.ok(record[name] >= 0, name);
    assert.ok(record.bytes_out > 0 && record.version && record.client === '127.0.0.1');
  });
});

describe('selvedge status', () => {
  it('shows traffic and Workers, and with --watch each second', async () => {
    const { stdout } = await edge.selvedge(['status']);
    assert.match(stdout, /requests since the start, \d+ failed, p50/);
    assert.match(stdout, /welcome +[0-9a-f]{8} +running/);
    const child = spawn(
      process.execPath,
      [join(ROOT, 'bin/selvedge.js'), 'status', '--watch', '--data', edge.dataDir],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
    await edge.request(welcome);
    await eventually(() => /\d requests\/s, 0 failed/.test(output) && output.split('PROCESS').length > 2);
    child.kill('SIGTERM');
    assert.equal(await ended, 0);
  });
});
