import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { readHead } from './headers.ts';
import type { Client } from './identify.ts';
import { RequestRecord } from './record.ts';
import { RequestLog } from './request-log.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-log-'));
after(() => rmSync(directory, { recursive: true }));
const client = { ip: '192.0.2.7', country: 'DE', scheme: 'https', protocol: 'HTTP/2' } as Client;
const SECRETS = ['Authorization', 'Bearer hunter2', 'Cookie', 'session=hunter2', 'X-Api-Key', 'hunter2'];

/** A request that is over, given to the log. */
function request(log: RequestLog, host: string, path: string): void {
  const record = new RequestRecord(log, client, 'abc-DEV');
  record.head = readHead('GET', path, ['Host', host, ...SECRETS], 'https');
  record.answered(200);
  record.end();
}

const lines = (path: string) =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));

describe('the request log', () => {
  it('has one JSON line per request, without secrets, and is not for everybody', async () => {
    const path = join(directory, 'a', 'requests.jsonl');
    const log = new RequestLog({ dir: '', maxBytes: 1e6, files: 2, sample: {} }, path, 'dev');
    request(log, 'shop.example', '/cart?token=hunter2');
    request(log, 'shop.example', '/"\n\\');
    await log.close();
    const [first, second, ...more] = lines(path);
    assert.equal(more.length, 0);
    assert.equal(second.path, '/"\n\\');
    assert.deepEqual(
      [first.ray, first.client, first.country, first.method, first.host, first.path, first.status, first.outcome],
      ['abc-DEV', '192.0.2.7', 'DE', 'GET', 'shop.example', '/cart', 200, 'ok'],
    );
    assert.ok(first.total_ms >= 0 && first.colo === 'DEV' && !Number.isNaN(Date.parse(first.time)));
    assert.doesNotMatch(readFileSync(path, 'utf8'), /hunter2/);
    assert.equal(statSync(path).mode & 0o777, 0o640 & ~process.umask());
  });

  it('is rotated by size, and keeps as many files as it was told', async () => {
    const path = join(directory, 'b', 'requests.jsonl');
    const log = new RequestLog({ dir: '', maxBytes: 70_000, files: 2, sample: {} }, path, 'dev');
    for (let round = 0; round < 60; round++) {
      for (let i = 0; i < 100; i++) request(log, 'shop.example', `/${'x'.repeat(50)}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    await log.close();
    const names = readdirSync(join(directory, 'b'));
    assert.ok(names.includes('requests.jsonl.1') && names.includes('requests.jsonl.2'), names.join());
    assert.ok(!names.includes('requests.jsonl.3'), names.join());
    for (const number of [1, 2]) {
      assert.ok(statSync(`${path}.${number}`).size >= 70_000);
      assert.ok(lines(`${path}.${number}`).length > 100, 'whole lines only');
    }
    assert.equal(log.lost, 0);
  });

  it('writes the share of each host that it was told', async () => {
    const path = join(directory, 'c', 'requests.jsonl');
    const sample = { 'quiet.example': 0, 'half.example': 0.5, '*': 1 };
    const log = new RequestLog({ dir: '', maxBytes: 1e7, files: 2, sample }, path, 'dev');
    for (let i = 0; i < 400; i++) for (const name of ['quiet', 'half', 'loud']) request(log, `${name}.example`, '/');
    await log.close();
    const count = (host: string) => lines(path).filter((line) => line.host === `${host}.example`).length;
    assert.equal(count('quiet'), 0);
    assert.equal(count('loud'), 400);
    // Outside of these bounds once in 10^15.
    assert.ok(count('half') > 120 && count('half') < 280, String(count('half')));
  });
});
