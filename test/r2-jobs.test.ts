/** Moving in from S3 by jobs: a second Selvedge is the source, and a gate before it counts what it is asked. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  paginateListObjectsV2,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { eventually } from './harness.ts';
import { openS3Bench } from './s3-bench.ts';
import { openGate } from './s3-source.ts';

const MiB = 1024 * 1024;
const SMALL_OBJECTS = 3_000;
const old = await openS3Bench();
const { edge, s3 } = await openS3Bench({ args: ['--allow-egress', '127.0.0.0/8'], env: { SELVEDGE_LOG: 'debug' } });
const gate = await openGate(old.endpoint);
after(async () => {
  await gate.close();
  await Promise.all([edge.close(), old.edge.close()]);
});

const SLURPER = `/accounts/${edge.accountId}/slurper`;
const call = (path: string, method = 'GET', body?: unknown) => edge.api(`${SLURPER}${path}`, { method, body });
const sourceOf = (bucket: string, more = {}) => ({
  vendor: 's3',
  bucket,
  endpoint: gate.url,
  region: 'auto',
  secret: old.credentials,
  ...more,
});

async function begin(
  from: string,
  to: string,
  { source = {}, ...more }: Record<string, unknown> = {},
): Promise<string> {
  const target = { vendor: 'r2', bucket: to, secret: { accessKeyId: 'a', secretAccessKey: 'b' } };
  const body = { source: sourceOf(from, source as object), target, ...more };
  const { status, body: answer } = await call('/jobs', 'POST', body);
  assert.equal(status, 201, JSON.stringify(answer));
  assert.match(answer.result.id, /^[0-9a-f]{32}$/);
  return answer.result.id;
}
const progress = async (id: string) => (await call(`/jobs/${id}/progress`)).body.result;
/** Waits until the job runs no more. */
const ended = (id: string) =>
  eventually(async () => {
    const now = await progress(id);
    return now.status !== 'running' && now;
  }, 50_000);
const counts = async (id: string) => {
  const { status, objects, transferredObjects, skippedObjects, failedObjects } = await ended(id);
  return [status, objects, transferredObjects, skippedObjects, failedObjects];
};
const logs = async (id: string): Promise<any[]> => (await call(`/jobs/${id}/logs`)).body.result;
const events = async (id: string) => (await logs(id)).map(({ logType }) => logType);
const bucket = (Bucket: string, client = s3) => client.send(new CreateBucketCommand({ Bucket }));
const put = (Bucket: string, Key: string, Body: string | Buffer, more = {}) =>
  old.s3.send(new PutObjectCommand({ Bucket, Key, Body, ...more }));
const text = async (Bucket: string, Key: string) =>
  (await s3.send(new GetObjectCommand({ Bucket, Key }))).Body!.transformToString();

async function listed(Bucket: string, client = s3): Promise<[string, string][]> {
  const found: [string, string][] = [];
  for await (const { Contents = [] } of paginateListObjectsV2({ client }, { Bucket })) {
    for (const { Key, ETag } of Contents) found.push([Key!, ETag!]);
  }
  return found;
}

async function atOnce<T>(items: Iterable<T>, work: (item: T) => Promise<unknown>): Promise<void> {
  const rest = items[Symbol.iterator]();
  const next = async () => {
    for (let item = rest.next(); !item.done; item = rest.next()) await work(item.value);
  };
  await Promise.all(Array.from({ length: 40 }, next));
}

async function killR2(): Promise<void> {
  const processes = async (): Promise<{ name: string; pid: number }[]> =>
    JSON.parse((await edge.selvedge(['status', '--json'])).stdout).processes;
  const { pid } = (await processes()).find(({ name }) => name === 'r2')!;
  process.kill(pid, 'SIGKILL');
  await eventually(async () =>
    (await processes()).some((each) => each.name === 'r2' && each.pid > 0 && each.pid !== pid),
  );
}

await bucket('many', old.s3);
await atOnce(Array(SMALL_OBJECTS).keys(), (n) => put('many', `small/${String(n).padStart(5, '0')}`, `object ${n}`));

describe('a job', () => {
  it('copies a bucket with names, metadata and ETags', async () => {
    await bucket('old', old.s3);
    await bucket('copy');
    const names = [
      'a b+c',
      'ü/ö.txt',
      'x%2Fy',
      'q?a=1&b#',
      'double//slash',
      'ctrl\u0001',
      ' ',
      '\u{1F600}',
      'plus+',
      "it's (1)*!",
      'empty',
    ];
    for (const name of names)
      await put('old', name, name === 'empty' ? '' : name, { Metadata: { name: 'apples' }, ContentType: 'text/x' });
    const large = new Upload({ client: old.s3, params: { Bucket: 'old', Key: 'large', Body: randomBytes(12 * MiB) } });
    const { ETag } = (await large.done()) as { ETag: string };
    const id = await begin('old', 'copy');
    assert.deepEqual(await counts(id), ['completed', 12, 12, 0, 0]);
    assert.deepEqual(await listed('copy'), await listed('old', old.s3));
    assert.ok((await listed('copy')).some(([key, etag]) => key === 'large' && etag === ETag));
    for (const name of names.filter((each) => each !== 'empty')) assert.equal(await text('copy', name), name);
    const head = await s3.send(new HeadObjectCommand({ Bucket: 'copy', Key: 'ü/ö.txt' }));
    assert.deepEqual([head.ContentType, head.Metadata], ['text/x', { name: 'apples' }]);
    const bytes = names.reduce((sum, name) => sum + (name === 'empty' ? 0 : Buffer.byteLength(name)), 12 * MiB);
    assert.equal((await progress(id)).transferredBytes, bytes);
    assert.deepEqual(await events(id), ['migrationStart', 'migrationComplete']);
  });

  it('is shown, alone and in the list of the account', async () => {
    const [newest] = (await call('/jobs?limit=1')).body.result;
    const { createdAt, finishedAt, id, ...shown } = (await call(`/jobs/${newest.id}`)).body.result;
    assert.deepEqual(shown, {
      overwrite: true,
      status: 'completed',
      error: null,
      source: { vendor: 's3', bucket: 'old', endpoint: gate.url, region: 'auto', pathPrefix: null, keys: null },
      target: { vendor: 'r2', bucket: 'copy', jurisdiction: 'default' },
    });
    assert.ok(Date.parse(createdAt) <= Date.parse(finishedAt));
    assert.deepEqual((await call('/jobs?offset=1')).body.result, []);
    const entry = (await call(`/jobs/${id}/logs?limit=1&offset=1`)).body.result;
    assert.deepEqual(
      entry.map(({ job, logType, objectKey }: any) => [job, logType, objectKey]),
      [[id, 'migrationComplete', null]],
    );
  });

  it('copies only what is below a prefix', async () => {
    await bucket('below');
    assert.deepEqual(await counts(await begin('many', 'below', { source: { pathPrefix: 'small/0001' } })), [
      'completed',
      10,
      10,
      0,
      0,
    ]);
    assert.equal((await listed('below')).at(-1)![0], 'small/00019');
  });

  it('replaces what is here, unless it is told not to, and asks for nothing that is here already', async () => {
    await bucket('mine');
    const mine = (Key: string, Body: string) => s3.send(new PutObjectCommand({ Bucket: 'mine', Key, Body }));
    await mine('small/00010', 'mine');
    await mine('small/00011', 'object 11');
    const source = { pathPrefix: 'small/0001' };
    const before = gate.count('/many/small/00011');
    assert.deepEqual(await counts(await begin('many', 'mine', { source, overwrite: false })), [
      'completed',
      10,
      8,
      2,
      0,
    ]);
    assert.equal(await text('mine', 'small/00010'), 'mine');
    assert.deepEqual(await counts(await begin('many', 'mine', { source })), ['completed', 10, 1, 9, 0]);
    assert.equal(await text('mine', 'small/00010'), 'object 10');
    assert.equal(gate.count('/many/small/00011'), before);
  });

  it('goes on after kill -9 of its process, and copies nothing twice', async () => {
    await bucket('killed');
    const before = gate.asked.length;
    const { connections } = gate;
    const id = await begin('many', 'killed');
    gate.delayMs = 5;
    await eventually(async () => (await progress(id)).transferredObjects >= 1_200);
    gate.holdAfter = 0;
    await killR2();
    gate.delayMs = 0;
    gate.release();
    assert.deepEqual(await counts(id), ['completed', SMALL_OBJECTS, SMALL_OBJECTS, 0, 0]);
    assert.deepEqual(await listed('killed'), await listed('many', old.s3));
    const asked = gate.asked.slice(before);
    const lists = asked.filter((each) => each.includes('list-type'));
    assert.ok(lists.length <= 4, String(lists.length));
    assert.ok(asked.length - lists.length <= SMALL_OBJECTS + 8, String(asked.length));
    assert.ok(gate.connections - connections < 100, 'connections are used again');
    assert.ok(new Set(asked).size < asked.length, 'it was killed in the middle');
  });

  it('is paused, resumed and aborted', async () => {
    await bucket('paused');
    gate.delayMs = 20;
    const id = await begin('many', 'paused');
    await eventually(async () => (await progress(id)).transferredObjects > 100);
    assert.equal((await call(`/jobs/${id}/resume`, 'PUT')).status, 409);
    assert.deepEqual((await call(`/jobs/${id}/pause`, 'PUT')).body.result, 'The job is paused.');
    await new Promise((resolve) => setTimeout(resolve, 500));
    const before = (await listed('paused')).length;
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    assert.equal((await listed('paused')).length, before);
    assert.ok(before < SMALL_OBJECTS);
    assert.equal((await progress(id)).status, 'paused');
    // A process that starts anew leaves it so.
    await killR2();
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.equal((await listed('paused')).length, before);
    assert.equal((await call(`/jobs/${id}/resume`, 'PUT')).status, 200);
    await eventually(async () => (await listed('paused')).length > before);
    assert.equal((await call(`/jobs/${id}/abort`, 'PUT')).status, 200);
    gate.delayMs = 0;
    const { finishedAt, status } = (await call(`/jobs/${id}`)).body.result;
    assert.equal(status, 'aborted');
    assert.ok(Date.parse(finishedAt) > Date.now() - 10_000);
    for (const ask of ['pause', 'resume', 'abort']) {
      const { status: refused, body } = await call(`/jobs/${id}/${ask}`, 'PUT');
      assert.deepEqual([refused, body.errors[0].code], [409, 10332]);
    }
    assert.deepEqual(await events(id), ['migrationStart', 'migrationPause', 'migrationResume', 'migrationAbort']);
  });

  it('is one of at most three that run, and all are aborted together', async () => {
    await bucket('three');
    gate.holdAfter = 0;
    const ids = [await begin('many', 'three'), await begin('many', 'three'), await begin('many', 'three')];
    const body = { source: sourceOf('many'), target: { bucket: 'three' } };
    const { status, body: refused } = await call('/jobs', 'POST', body);
    assert.deepEqual([status, refused.errors[0].code], [409, 10332]);
    assert.equal((await call('/jobs/abortAll', 'PUT')).status, 200);
    gate.release();
    for (const id of ids) assert.equal((await ended(id)).status, 'aborted');
  });
});

describe('a job whose source fails', () => {
  it('pauses and says why: wrong secret, no such bucket', async () => {
    await bucket('refused');
    const cases = [
      ['many', { secret: { ...old.credentials, secretAccessKey: 'wrong' } }, /answered 403 SignatureDoesNotMatch$/],
      ['nothing', {}, /answered 404 NoSuchBucket$/],
    ] as const;
    for (const [from, source, message] of cases) {
      const id = await begin(from, 'refused', { source });
      const { status, error } = await ended(id);
      assert.equal(status, 'paused');
      assert.match(error, message);
      const [, entry] = await logs(id);
      assert.equal(entry.logType, 'migrationErrorFailedContinuation');
      assert.match(entry.message, message);
    }
  });

  it('pauses when the source is gone, and goes on when it is back', async () => {
    await bucket('gone');
    await bucket('objects', old.s3);
    await atOnce(Array(50).keys(), (n) => put('objects', `n${n}`, String(n)));
    gate.answerWith = (path) =>
      path === '/objects' ? { status: 503, body: '<Error><Code>SlowDown</Code></Error>' } : null;
    const id = await begin('objects', 'gone');
    const { status, error } = await ended(id);
    assert.equal(status, 'paused');
    assert.match(error, /answered 503 SlowDown$/);
    gate.answerWith = () => null;
    await call(`/jobs/${id}/resume`, 'PUT');
    assert.deepEqual(await counts(id), ['completed', 50, 50, 0, 0]);
    assert.equal((await progress(id)).error, null);
  });

  it('copies the other objects, and names those that failed', async () => {
    await bucket('partly');
    const archived = '<Error><Code>InvalidObjectState</Code></Error>';
    let tries = 0;
    gate.answerWith = (path) => {
      if (path === '/objects/n1') return { status: 403, body: '<Error><Code>AccessDenied</Code></Error>' };
      if (path === '/objects/n2') return { status: 403, body: archived };
      if (path === '/objects/n3') return tries++ === 0 ? { status: 500 } : null;
      return path === '/objects/n4' ? { status: 404 } : null;
    };
    const id = await begin('objects', 'partly');
    assert.deepEqual(await counts(id), ['completed', 50, 47, 2, 1]);
    gate.answerWith = () => null;
    const failed = (await logs(id)).filter(({ objectKey }) => objectKey !== null);
    assert.deepEqual(failed.map(({ logType, objectKey }) => [logType, objectKey]).sort(), [
      ['importErrorRetryExhaustion', 'n1'],
      ['importSkippedStorageClass', 'n2'],
    ]);
    assert.match(failed.find(({ objectKey }) => objectKey === 'n1').message, /answered 403 AccessDenied$/);
  });

  it('is aborted when its bucket is deleted', async () => {
    await bucket('deleted');
    const id = await begin('nothing', 'deleted');
    await ended(id);
    await s3.send(new DeleteBucketCommand({ Bucket: 'deleted' }));
    await bucket('deleted');
    await call(`/jobs/${id}/resume`, 'PUT');
    const { status, error } = await ended(id);
    assert.deepEqual([status, error], ['aborted', 'the bucket deleted was deleted']);
    assert.deepEqual(await listed('deleted'), []);
  });

  it('can be checked before', async () => {
    const check = async (source: object) => (await call('/source/connectivity-precheck', 'PUT', source)).body.result;
    assert.deepEqual(await check(sourceOf('many')), { connectivityStatus: 'success' });
    const { connectivityStatus, message } = await check(sourceOf('nothing'));
    assert.equal(connectivityStatus, 'error');
    assert.match(message, /NoSuchBucket/);
    assert.match((await check(sourceOf('x', { endpoint: 'http://169.254.169.254' }))).message, /not a public address/);
    const target = async (name: string) =>
      (await call('/target/connectivity-precheck', 'PUT', { vendor: 'r2', bucket: name, secret: {} })).body.result;
    assert.deepEqual(
      [await target('copy'), await target('absent')],
      [{ connectivityStatus: 'success' }, { connectivityStatus: 'error' }],
    );
  });
});

it('what is no source, no target or another account’s job is refused', async () => {
  const target = { bucket: 'copy' };
  for (const [source, code] of [
    [sourceOf('x', { vendor: 'gcs' }), 10058],
    [sourceOf('x', { vendor: 'r2' }), 10058],
    [sourceOf('x', { keys: ['a'] }), 10058],
    [sourceOf('x', { endpoint: 'ftp://host' }), 10001],
    [sourceOf('x', { endpoint: 'http://host/path' }), 10001],
    [sourceOf('x', { secret: {} }), 10001],
    [sourceOf(''), 10001],
  ] as const) {
    const { status, body } = await call('/jobs', 'POST', { source, target });
    assert.deepEqual([status, body.errors[0].code], [400, code], JSON.stringify(source));
  }
  assert.equal((await call('/jobs', 'POST', { source: sourceOf('x'), target: { bucket: 'absent' } })).status, 404);
  const [job] = (await call('/jobs')).body.result;
  const { stdout } = await edge.selvedge(['account', 'create', '--name', 'Eve', '--subdomain', 'eve']);
  const [eve] = /[0-9a-f]{32}/.exec(stdout)!;
  const token = (await edge.selvedge(['token', 'create', '--account', eve])).stdout.trim().split('\n').at(-1)!;
  for (const [path, method] of [
    ['', 'GET'],
    ['/progress', 'GET'],
    ['/logs', 'GET'],
    ['/pause', 'PUT'],
    ['/abort', 'PUT'],
  ] as const) {
    const { status, body } = await edge.api(`/accounts/${eve}/slurper/jobs/${job.id}${path}`, { method, token });
    assert.deepEqual([status, body.errors[0].code], [404, 10331]);
  }
  assert.deepEqual((await edge.api(`/accounts/${eve}/slurper/jobs`, { token })).body.result, []);
});

it('the secret of a source shows in no answer, no file and no log', async () => {
  const { secretAccessKey } = old.credentials;
  assert.ok(!JSON.stringify((await call('/jobs')).body).includes(secretAccessKey));
  for await (const entry of glob('**', { cwd: edge.dataDir, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name);
    if (entry.isFile()) assert.ok(!(await readFile(file)).includes(secretAccessKey), file);
  }
  assert.ok(!edge.output().includes(secretAccessKey));
});
