/** What buckets used, as the API and the command show it. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { eventually } from './harness.ts';
import { openS3Bench } from './s3-bench.ts';

const { edge, s3 } = await openS3Bench();
after(() => edge.close());

describe('what is used', () => {
  it('is counted by bucket and day: operations, bytes, what is held; egress costs nothing', async () => {
    const used = 'used';
    await s3.send(new CreateBucketCommand({ Bucket: used }));
    await s3.send(new PutObjectCommand({ Bucket: used, Key: 'a', Body: Buffer.alloc(1000) }));
    await s3.send(new PutObjectCommand({ Bucket: used, Key: 'b', Body: Buffer.alloc(500) }));
    await s3.send(new PutObjectCommand({ Bucket: used, Key: 'a', Body: Buffer.alloc(700) }));
    for (let i = 0; i < 3; i++) {
      await (await s3.send(new GetObjectCommand({ Bucket: used, Key: 'a' }))).Body!.transformToByteArray();
    }
    await s3.send(new ListObjectsV2Command({ Bucket: used }));
    await s3.send(new DeleteObjectCommand({ Bucket: used, Key: 'b' }));
    const found = await eventually(async () => {
      const { body } = await edge.api('/../../selvedge/r2/usage');
      const row = body.result.rows.find(({ bucket }: { bucket: string }) => bucket === used);
      return row?.class_b_operations === 3 && { row, ...body.result };
    });
    const { day, ...row } = found.row;
    assert.match(day, /^\d{4}-\d\d-\d\d$/);
    assert.deepEqual(row, {
      bucket: used,
      class_a_operations: 4,
      class_b_operations: 3,
      ingress_bytes: 2200,
      egress_bytes: 2100,
      egress_price: 0,
    });
    assert.deepEqual(
      found.buckets.find(({ bucket }: { bucket: string }) => bucket === used),
      { bucket: used, objects: 1, stored_bytes: 700 },
    );
    const { stdout } = await edge.selvedge(['r2', 'usage']);
    assert.match(stdout, /used +1 +700[\s\S]*used +4 +3 +2200 +2100 +0/);
  });
});
