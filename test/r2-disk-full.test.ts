/** R2 on a disk that is full: a clear refusal, nothing visible, and it goes on when there is room. Needs root, for a small disk. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { eventually } from './harness.ts';
import { BUCKET as Bucket, MiB, openR2Bench, sealed } from './r2-bench.ts';
import { failure } from './s3-bench.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-r2-full-'));
const disk = join(directory, 'data', 'r2');
mkdirSync(disk, { recursive: true });
const mount = (options: string) => spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', disk]).status === 0;
const mounted = process.getuid?.() === 0 && mount('size=32m');
after(() => {
  if (mounted) spawnSync('umount', [disk]);
  rmSync(directory, { recursive: true, force: true });
});

it('a full disk refuses objects and parts with a clear error, and takes them when there is room again', {
  skip: mounted ? false : 'a disk of 32 MiB cannot be mounted here',
}, async (t) => {
  const { edge, s3, ask, blobs, incoming } = await openR2Bench({ dataDir: join(directory, 'data') });
  t.after(async () => {
    await edge.close();
    spawnSync('umount', [disk]);
    rmSync(directory, { recursive: true, force: true });
  });
  const put = (Key: string, Body: Buffer) => s3.send(new PutObjectCommand({ Bucket, Key, Body }));
  const kept = sealed(20 * MiB);
  await put('kept', kept);

  const FULL = ['ServiceUnavailable', 503];
  for (let i = 0; i < 3; i++) assert.deepEqual(await failure(put('refused', sealed(20 * MiB))), FULL);
  await assert.rejects(put('refused', sealed(20 * MiB)), /The disk of this machine is full\./);
  const bound = await ask('PUT', '/bound', sealed(20 * MiB));
  assert.equal(bound.status, 500);
  assert.match(bound.text, /^put: The disk of this machine is full\. \(10043\)$/);
  const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key: 'parts' }));
  const part = (Body: Buffer) =>
    s3.send(new UploadPartCommand({ Bucket, Key: 'parts', UploadId, PartNumber: 1, Body }));
  assert.deepEqual(await failure(part(sealed(20 * MiB))), FULL);
  const copy = () => s3.send(new CopyObjectCommand({ Bucket, Key: 'copy', CopySource: `${Bucket}/kept` }));
  assert.deepEqual(await failure(copy()), FULL);
  // What is there stays as it was, and can be read.
  assert.deepEqual(await failure(put('kept', sealed(20 * MiB))), FULL);
  const got = await s3.send(new GetObjectCommand({ Bucket, Key: 'kept' }));
  assert.ok(Buffer.from(await got.Body!.transformToByteArray()).equals(kept));
  for (const Key of ['refused', 'bound', 'copy', 'parts']) {
    assert.deepEqual(await failure(s3.send(new HeadObjectCommand({ Bucket, Key }))), ['NotFound', 404], Key);
  }
  await eventually(() => incoming().length === 0);
  assert.equal(blobs().length, 1);
  // There is room for this.
  await put('small', sealed(MiB));

  assert.ok(mount('remount,size=128m'));
  const bytes = sealed(20 * MiB);
  await put('refused', bytes);
  assert.equal((await ask('PUT', '/bound', bytes)).status, 200);
  const { ETag } = await part(bytes);
  await s3.send(
    new CompleteMultipartUploadCommand({
      Bucket,
      Key: 'parts',
      UploadId,
      MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] },
    }),
  );
  await copy();
  const { Contents } = await s3.send(new ListObjectsV2Command({ Bucket }));
  assert.deepEqual(
    Contents!.map(({ Key }) => Key),
    ['bound', 'copy', 'kept', 'parts', 'refused', 'small'],
  );
});
