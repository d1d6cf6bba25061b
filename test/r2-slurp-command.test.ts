/** `selvedge r2`: moving in from S3 by the command line. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { CreateBucketCommand, ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { eventually, selvedge } from './harness.ts';
import { openS3Bench } from './s3-bench.ts';
import { openGate } from './s3-source.ts';

const old = await openS3Bench();
const { edge, s3 } = await openS3Bench({ args: ['--allow-egress', '127.0.0.0/8'] });
const gate = await openGate(old.endpoint);
after(async () => {
  await gate.close();
  await Promise.all([edge.close(), old.edge.close()]);
});
const { accessKeyId, secretAccessKey } = old.credentials;
const secret = { AWS_SOURCE_SECRET_ACCESS_KEY: secretAccessKey };
await old.s3.send(new CreateBucketCommand({ Bucket: 'old' }));
for (const n of Array(20).keys()) {
  await old.s3.send(
    new PutObjectCommand({ Bucket: 'old', Key: `${n % 2 ? 'odd' : 'even'}/${n}`, Body: 'x'.repeat(100) }),
  );
}
await s3.send(new CreateBucketCommand({ Bucket: 'new' }));

const slurpArgs = (...more: string[]) => [
  ...['r2', 'slurp', '--data', edge.dataDir, '--bucket', 'new', '--access-key-id', accessKeyId],
  ...['--from', `${gate.url}/old`, ...more],
];
const list = async () =>
  ((await s3.send(new ListObjectsV2Command({ Bucket: 'new' }))).Contents ?? []).map(({ Key }) => Key!);
const jobs = async () => JSON.parse((await edge.selvedge(['r2', 'jobs', '--json'])).stdout);

describe('selvedge r2 slurp', () => {
  it('copies what is below a prefix, and shows what it did', async () => {
    const { code, stdout, stderr } = await selvedge(slurpArgs('--prefix', 'odd/'), secret);
    assert.equal(code, 0, stderr);
    const [first, last] = stdout.trim().split('\n') as [string, string];
    assert.match(first, /^Job [0-9a-f]{32} copies http:\/\/127\.0\.0\.1:\d+\/old to new\.$/);
    assert.equal(last, 'completed: 10 copied (1.00 kB), 0 skipped, of 10 listed');
    assert.equal((await list()).length, 10);
  });

  it('takes the secret from a file', async () => {
    const file = join(edge.dataDir, '..', 'secret');
    await writeFile(file, `${secretAccessKey}\n`);
    const { code, stdout, stderr } = await selvedge(slurpArgs('--secret-file', file));
    assert.equal(code, 0, stderr);
    assert.match(stdout, /completed: 10 copied \(1\.00 kB\), 10 skipped, of 20 listed/);
  });

  it('names the objects that failed', async () => {
    gate.answerWith = (path) => (path.endsWith('/odd/3') ? { status: 403 } : null);
    await s3.send(new CreateBucketCommand({ Bucket: 'partly' }));
    const { code, stdout, stderr } = await selvedge(slurpArgs('--bucket', 'partly'), secret);
    gate.answerWith = () => null;
    assert.equal(code, 1);
    assert.match(
      stdout,
      /completed: 19 copied \(1\.90 kB\), 0 skipped, 1 failed, of 20 listed\nodd\/3: .* answered 403/,
    );
    assert.match(stderr, /^selvedge: 1 objects were not copied: see `selvedge r2 logs ([0-9a-f]{32})`$/m);
    const [, id] = /r2 logs (\w+)/.exec(stderr)!;
    assert.match(
      (await edge.selvedge(['r2', 'logs', id!])).stdout,
      /importErrorRetryExhaustion +odd\/3 .*answered 403/,
    );
  });

  it('says why a job paused, and how to go on', async () => {
    const { code, stderr } = await selvedge(slurpArgs(), { AWS_SOURCE_SECRET_ACCESS_KEY: 'wrong' });
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^selvedge: the job is paused: the source .* answered 403 SignatureDoesNotMatch\. Go on with/m,
    );
    const [, id] = /r2 resume (\w+)/.exec(stderr)!;
    assert.equal((await edge.selvedge(['r2', 'abort', id!])).stdout, 'The job is aborted.\n');
    const again = await edge.selvedge(['r2', 'resume', id!]);
    assert.deepEqual([again.code, again.stderr], [1, 'selvedge: The job is aborted: it cannot be resumed.\n']);
  });

  it('leaves the job running at Ctrl-C', async () => {
    await s3.send(new CreateBucketCommand({ Bucket: 'detached' }));
    gate.holdAfter = 0;
    const main = join(import.meta.dirname, '..', 'bin', 'selvedge.js');
    const child = spawn(process.execPath, [main, ...slurpArgs('--bucket', 'detached')], {
      env: { ...process.env, ...secret },
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk;
    });
    await eventually(() => output.includes('copies'));
    child.kill('SIGINT');
    const [code] = await once(child, 'close');
    assert.equal(code, 130);
    assert.match(output, /The job goes on/);
    const [newest] = await jobs();
    assert.equal(newest.status, 'running');
    gate.release();
    await eventually(async () => (await jobs())[0].status === 'completed');
    const { stdout } = await edge.selvedge(['r2', 'jobs']);
    assert.match(stdout, /^JOB +BUCKET +FROM +SINCE +STATUS +COPIED +SKIPPED +FAILED +BYTES\n/);
    assert.match(
      stdout,
      new RegExp(`^${newest.id} +detached +${gate.url}/old/ +\\S+ +completed +20 +0 +0 +2.00 kB$`, 'm'),
    );
  });

  it('is refused with one sentence for what is missing or wrong', async () => {
    const usual = ['--from', `${gate.url}/old`, '--access-key-id', 'x'];
    for (const [args, message] of [
      [['--from', 'somewhere', '--access-key-id', 'x'], /the URL of a bucket is expected/],
      [['--from', gate.url, '--access-key-id', 'x'], /the URL of a bucket is expected/],
      [['--from', `${gate.url}/old`], /name the access key of the source/],
      [usual, /give the secret of the source in AWS_SOURCE_SECRET_ACCESS_KEY/],
    ] as const) {
      const { code, stderr } = await edge.selvedge(['r2', 'slurp', '--bucket', 'new', ...args]);
      assert.equal(code, 1);
      assert.match(stderr, message);
      assert.equal(stderr.trim().split('\n').length, 1, stderr);
    }
    const absent = await selvedge(slurpArgs('--bucket', 'absent'), secret);
    assert.deepEqual([absent.code, absent.stderr], [1, 'selvedge: The specified bucket does not exist.\n']);
  });
});
