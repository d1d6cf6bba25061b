/** The S3 API with the official client (AWS SDK v3). */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, describe, it } from 'node:test';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteBucketCorsCommand,
  DeleteBucketLifecycleCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketAclCommand,
  GetBucketCorsCommand,
  GetBucketLifecycleConfigurationCommand,
  GetBucketLocationCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListMultipartUploadsCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutBucketCorsCommand,
  PutBucketLifecycleConfigurationCommand,
  PutObjectCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { failure, openS3Bench } from './s3-bench.ts';

const { edge, s3, client, endpoint } = await openS3Bench();
after(() => edge.close());
const Bucket = 'photos';
await s3.send(new CreateBucketCommand({ Bucket }));
const MiB = 1024 * 1024;

describe('buckets over S3', () => {
  it('are made, found, listed and deleted', async () => {
    await s3.send(
      new CreateBucketCommand({ Bucket: 'second', CreateBucketConfiguration: { LocationConstraint: 'auto' as never } }),
    );
    const { Buckets } = await s3.send(new ListBucketsCommand({}));
    assert.deepEqual(
      Buckets!.map(({ Name }) => Name),
      ['photos', 'second'],
    );
    assert.ok(Math.abs(Buckets![0]!.CreationDate!.getTime() - Date.now()) < 60_000);
    await s3.send(new HeadBucketCommand({ Bucket: 'second' }));
    assert.ok((await s3.send(new GetBucketLocationCommand({ Bucket: 'second' }))).LocationConstraint);
    await s3.send(new DeleteBucketCommand({ Bucket: 'second' }));
    assert.deepEqual(await failure(s3.send(new HeadBucketCommand({ Bucket: 'second' }))), ['NotFound', 404]);
  });

  it('are refused under a name that is taken or not valid, and are not deleted while something is in them', async () => {
    assert.deepEqual(await failure(s3.send(new CreateBucketCommand({ Bucket }))), ['BucketAlreadyOwnedByYou', 409]);
    assert.deepEqual(await failure(s3.send(new CreateBucketCommand({ Bucket: 'a_b' }))), ['InvalidBucketName', 400]);
    await s3.send(new CreateBucketCommand({ Bucket: 'full' }));
    await s3.send(new PutObjectCommand({ Bucket: 'full', Key: 'a', Body: 'a' }));
    assert.deepEqual(await failure(s3.send(new DeleteBucketCommand({ Bucket: 'full' }))), ['BucketNotEmpty', 409]);
    assert.deepEqual(await failure(s3.send(new GetBucketAclCommand({ Bucket }))), ['NotImplemented', 501]);
  });

  it('have CORS rules', async () => {
    assert.deepEqual(await failure(s3.send(new GetBucketCorsCommand({ Bucket }))), ['NoSuchCORSConfiguration', 404]);
    const CORSRules = [
      {
        ID: 'web',
        AllowedOrigins: ['https://*.example', 'https://a.test'],
        AllowedMethods: ['GET', 'PUT'],
        AllowedHeaders: ['*'],
        ExposeHeaders: ['ETag'],
        MaxAgeSeconds: 600,
      },
      { AllowedOrigins: ['*'], AllowedMethods: ['HEAD'] },
    ];
    await s3.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules } }));
    assert.deepEqual((await s3.send(new GetBucketCorsCommand({ Bucket }))).CORSRules, CORSRules);
    await s3.send(new DeleteBucketCorsCommand({ Bucket }));
    const wrong = [{ AllowedOrigins: ['*'], AllowedMethods: ['PATCH'] }];
    assert.deepEqual(
      await failure(s3.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules: wrong } }))),
      ['MalformedXML', 400],
    );
  });

  it('have lifecycle rules', async () => {
    const Rules = [
      { ID: 'old', Status: 'Enabled' as const, Filter: { Prefix: 'logs/' }, Expiration: { Days: 30 } },
      {
        ID: 'cold',
        Status: 'Disabled' as const,
        Filter: { Prefix: '' },
        Transitions: [{ Days: 60, StorageClass: 'STANDARD_IA' as const }],
        AbortIncompleteMultipartUpload: { DaysAfterInitiation: 2 },
      },
    ];
    await s3.send(new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules } }));
    assert.deepEqual((await s3.send(new GetBucketLifecycleConfigurationCommand({ Bucket }))).Rules, Rules);
    await s3.send(new DeleteBucketLifecycleCommand({ Bucket }));
  });
});

describe('objects over S3', () => {
  it('are put and got with their metadata', async () => {
    const Body = 'grüße';
    const put = await s3.send(
      new PutObjectCommand({
        Bucket,
        Key: 'dir/a ü+&.txt',
        Body,
        ContentType: 'text/plain',
        CacheControl: 'max-age=60',
        ContentDisposition: 'inline',
        ContentLanguage: 'de',
        Expires: new Date(86_400_000),
        Metadata: { by: 'sdk', n: '1' },
        StorageClass: 'STANDARD_IA',
      }),
    );
    const md5 = createHash('md5').update(Body).digest('hex');
    assert.equal(put.ETag, `"${md5}"`);
    const got = await s3.send(new GetObjectCommand({ Bucket, Key: 'dir/a ü+&.txt', ChecksumMode: 'ENABLED' }));
    assert.equal(await got.Body!.transformToString(), Body);
    const head = await s3.send(new HeadObjectCommand({ Bucket, Key: 'dir/a ü+&.txt' }));
    for (const object of [got, head]) {
      assert.deepEqual(
        [
          object.ETag,
          object.ContentLength,
          object.ContentType,
          object.CacheControl,
          object.ContentDisposition,
          object.ContentLanguage,
          object.ExpiresString,
          object.Metadata,
          object.StorageClass,
        ],
        [
          `"${md5}"`,
          7,
          'text/plain',
          'max-age=60',
          'inline',
          'de',
          new Date(86_400_000).toUTCString(),
          { by: 'sdk', n: '1' },
          'STANDARD_IA',
        ],
      );
    }
    // The client sends a CRC-32 behind the body.
    assert.ok(got.ChecksumCRC32);
    assert.deepEqual(await failure(s3.send(new GetObjectCommand({ Bucket, Key: 'absent' }))), ['NoSuchKey', 404]);
    assert.deepEqual(await failure(s3.send(new GetObjectCommand({ Bucket: 'absent', Key: 'a' }))), [
      'NoSuchBucket',
      404,
    ]);
  });

  it('are checked by every algorithm that clients send', async () => {
    for (const ChecksumAlgorithm of ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'] as const) {
      const put = await s3.send(new PutObjectCommand({ Bucket, Key: 'sum', Body: 'checked', ChecksumAlgorithm }));
      const got = await s3.send(new GetObjectCommand({ Bucket, Key: 'sum', ChecksumMode: 'ENABLED' }));
      const name = `Checksum${ChecksumAlgorithm}` as const;
      assert.ok(put[name], name);
      assert.equal(got[name], put[name]);
      // The client checks the answer by itself.
      assert.equal(await got.Body!.transformToString(), 'checked');
    }
    const wrong = new PutObjectCommand({
      Bucket,
      Key: 'sum',
      Body: 'other',
      ChecksumSHA256: createHash('sha256').update('checked').digest('base64'),
    });
    assert.deepEqual(await failure(s3.send(wrong)), ['BadDigest', 400]);
    const wrongMd5 = new PutObjectCommand({
      Bucket,
      Key: 'sum',
      Body: 'other',
      ContentMD5: createHash('md5').update('checked').digest('base64'),
    });
    assert.deepEqual(await failure(s3.send(wrongMd5)), ['BadDigest', 400]);
    assert.equal(
      await (await s3.send(new GetObjectCommand({ Bucket, Key: 'sum' }))).Body!.transformToString(),
      'checked',
    );
  });

  it('are read in ranges and under conditions', async () => {
    const bytes = randomBytes(3 * MiB + 5);
    const { ETag } = await s3.send(new PutObjectCommand({ Bucket, Key: 'range', Body: bytes }));
    const get = (over: object) => s3.send(new GetObjectCommand({ Bucket, Key: 'range', ...over }));
    for (const [Range, start, end] of [
      ['bytes=0-0', 0, 0],
      ['bytes=1048570-2097160', 1_048_570, 2_097_160],
      [`bytes=-7`, bytes.length - 7, bytes.length - 1],
      ['bytes=3145728-', 3_145_728, bytes.length - 1],
    ] as const) {
      const part = await get({ Range });
      assert.ok(Buffer.from(await part.Body!.transformToByteArray()).equals(bytes.subarray(start, end + 1)), Range);
      assert.equal(part.ContentRange, `bytes ${start}-${end}/${bytes.length}`);
    }
    assert.deepEqual(await failure(get({ Range: 'bytes=99999999-' })), ['InvalidRange', 416]);
    assert.deepEqual(await failure(get({ IfMatch: '"other"' })), ['PreconditionFailed', 412]);
    assert.deepEqual((await failure(get({ IfNoneMatch: ETag })))[1], 304);
    assert.deepEqual((await failure(get({ IfModifiedSince: new Date(Date.now() + 60_000) })))[1], 304);
    assert.deepEqual(await failure(get({ IfUnmodifiedSince: new Date(0) })), ['PreconditionFailed', 412]);
    const named = await get({ IfMatch: ETag, ResponseContentType: 'x/y', ResponseContentDisposition: 'attachment' });
    assert.deepEqual([named.ContentType, named.ContentDisposition], ['x/y', 'attachment']);
    named.Body!.transformToByteArray();
  });

  it('are written under conditions: one of many creators wins', async () => {
    const create = (Body: string) =>
      failure(s3.send(new PutObjectCommand({ Bucket, Key: 'once', Body, IfNoneMatch: '*' })));
    const results = await Promise.all(Array.from({ length: 20 }, (_, i) => create(`writer ${i}`)));
    assert.equal(results.filter(([name]) => name === 'no error').length, 1);
    assert.deepEqual(
      results.find(([name]) => name !== 'no error'),
      ['PreconditionFailed', 412],
    );
    const { ETag } = await s3.send(new HeadObjectCommand({ Bucket, Key: 'once' }));
    const replace = (IfMatch: string) =>
      failure(s3.send(new PutObjectCommand({ Bucket, Key: 'once', Body: 'next', IfMatch })));
    assert.deepEqual(await replace('"other"'), ['PreconditionFailed', 412]);
    assert.deepEqual(await replace(ETag!), ['no error', 0]);
    assert.deepEqual(await replace(ETag!), ['PreconditionFailed', 412]);
  });

  it('are listed by prefix, delimiter and page', async () => {
    await s3.send(new CreateBucketCommand({ Bucket: 'lists' }));
    const keys = ['a', 'b/1', 'b/2', 'c', 'd/x/y', 'z ü&<>'];
    for (const Key of keys) await s3.send(new PutObjectCommand({ Bucket: 'lists', Key, Body: Key }));
    const list = (over: object = {}) => s3.send(new ListObjectsV2Command({ Bucket: 'lists', ...over }));
    const all = await list();
    assert.deepEqual([all.Contents!.map(({ Key }) => Key), all.KeyCount, all.IsTruncated], [keys, 6, false]);
    assert.deepEqual([all.Contents![0]!.Size, all.Contents![0]!.StorageClass], [1, 'STANDARD']);
    const pages: unknown[] = [];
    for (let ContinuationToken: string | undefined; ; ) {
      const page = await list({ Delimiter: '/', MaxKeys: 2, ContinuationToken });
      pages.push([
        ...(page.Contents ?? []).map(({ Key }) => Key),
        ...(page.CommonPrefixes ?? []).map(({ Prefix }) => Prefix),
      ]);
      if (!page.IsTruncated) break;
      ContinuationToken = page.NextContinuationToken;
    }
    assert.deepEqual(pages, [['a', 'b/'], ['c', 'd/'], ['z ü&<>']]);
    assert.deepEqual(
      (await list({ StartAfter: 'b/1', Prefix: 'b/' })).Contents!.map(({ Key }) => Key),
      ['b/2'],
    );
    assert.equal((await list({ EncodingType: 'url', Prefix: 'z' })).Contents![0]!.Key, 'z%20%C3%BC%26%3C%3E');
    const v1 = await s3.send(new ListObjectsCommand({ Bucket: 'lists', Delimiter: '/', MaxKeys: 2 }));
    assert.equal(v1.NextMarker, 'b/');
    const next = await s3.send(new ListObjectsCommand({ Bucket: 'lists', Delimiter: '/', Marker: v1.NextMarker }));
    assert.deepEqual(
      [next.Contents!.map(({ Key }) => Key), next.CommonPrefixes],
      [['c', 'z ü&<>'], [{ Prefix: 'd/' }]],
    );
    assert.equal((await list({ MaxKeys: 0 })).KeyCount, 0);
    assert.deepEqual(await failure(list({ ContinuationToken: '?' })), ['InvalidArgument', 400]);
  });

  it('are copied, with their metadata or another one', async () => {
    await s3.send(
      new PutObjectCommand({ Bucket, Key: 'source ü', Body: 'copied', Metadata: { a: '1' }, ContentType: 'x/y' }),
    );
    const CopySource = `/${Bucket}/${encodeURIComponent('source ü')}`;
    const copied = await s3.send(new CopyObjectCommand({ Bucket, Key: 'copy', CopySource }));
    assert.equal(copied.CopyObjectResult!.ETag, `"${createHash('md5').update('copied').digest('hex')}"`);
    assert.deepEqual((await s3.send(new HeadObjectCommand({ Bucket, Key: 'copy' }))).Metadata, { a: '1' });
    await s3.send(
      new CopyObjectCommand({ Bucket, Key: 'copy', CopySource, MetadataDirective: 'REPLACE', Metadata: { b: '2' } }),
    );
    const head = await s3.send(new HeadObjectCommand({ Bucket, Key: 'copy' }));
    assert.deepEqual([head.Metadata, head.ContentType], [{ b: '2' }, 'application/octet-stream']);
    assert.deepEqual(
      await failure(s3.send(new CopyObjectCommand({ Bucket, Key: 'copy', CopySource: `${Bucket}/copy` }))),
      ['InvalidRequest', 400],
    );
    assert.deepEqual(
      await failure(s3.send(new CopyObjectCommand({ Bucket, Key: 'copy', CopySource, CopySourceIfMatch: '"x"' }))),
      ['PreconditionFailed', 412],
    );
    assert.deepEqual(
      await failure(s3.send(new CopyObjectCommand({ Bucket, Key: 'copy', CopySource: `${Bucket}/absent` }))),
      ['NoSuchKey', 404],
    );
  });

  it('are deleted, one or a thousand', async () => {
    await s3.send(new CreateBucketCommand({ Bucket: 'many' }));
    await Promise.all(
      Array.from({ length: 50 }, (_, i) => s3.send(new PutObjectCommand({ Bucket: 'many', Key: `k<${i}>`, Body: '' }))),
    );
    await s3.send(new DeleteObjectCommand({ Bucket: 'many', Key: 'k<0>' }));
    await s3.send(new DeleteObjectCommand({ Bucket: 'many', Key: 'absent' }));
    const Objects = Array.from({ length: 1000 }, (_, i) => ({ Key: `k<${i}>` }));
    const { Deleted, Errors } = await s3.send(new DeleteObjectsCommand({ Bucket: 'many', Delete: { Objects } }));
    assert.deepEqual([Deleted!.length, Errors ?? []], [1000, []]);
    assert.equal((await s3.send(new ListObjectsV2Command({ Bucket: 'many' }))).KeyCount, 0);
    const tooMany = { Objects: [...Objects, { Key: 'one more' }] };
    assert.deepEqual(await failure(s3.send(new DeleteObjectsCommand({ Bucket: 'many', Delete: tooMany }))), [
      'MalformedXML',
      400,
    ]);
  });
});

describe('uploads in parts over S3', () => {
  it('become an object when they are completed', async () => {
    const bytes = randomBytes(12 * MiB + 3);
    const upload = new Upload({
      client: s3,
      params: { Bucket, Key: 'big', Body: bytes, Metadata: { a: 'b' } },
      partSize: 5 * MiB,
      queueSize: 3,
    });
    const done = await upload.done();
    assert.match(done.ETag!, /^"[0-9a-f]{32}-3"$/);
    const got = await s3.send(new GetObjectCommand({ Bucket, Key: 'big' }));
    assert.ok(Buffer.from(await got.Body!.transformToByteArray()).equals(bytes));
    assert.deepEqual(got.Metadata, { a: 'b' });
  });

  it('are listed, and refuse parts that are missing, out of order, too small or unequal', async () => {
    const Key = 'parts';
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
    const put = async (PartNumber: number, size: number) => ({
      PartNumber,
      ETag: (
        await s3.send(
          new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body: Buffer.alloc(size, PartNumber) }),
        )
      ).ETag,
    });
    const complete = (Parts: object[]) =>
      failure(s3.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } })));
    const [one, two, three] = [await put(1, 5 * MiB), await put(2, 5 * MiB), await put(3, 10)];
    const { Uploads } = await s3.send(new ListMultipartUploadsCommand({ Bucket }));
    assert.deepEqual(
      Uploads!.map(({ Key: key, UploadId: id }) => [key, id]),
      [[Key, UploadId]],
    );
    const listed = await s3.send(new ListPartsCommand({ Bucket, Key, UploadId, MaxParts: 2 }));
    assert.deepEqual(
      [
        listed.Parts!.map(({ PartNumber, Size }) => [PartNumber, Size]),
        listed.IsTruncated,
        listed.NextPartNumberMarker,
      ],
      [
        [
          [1, 5 * MiB],
          [2, 5 * MiB],
        ],
        true,
        '2',
      ],
    );
    assert.deepEqual(await complete([two, one]), ['InvalidPartOrder', 400]);
    assert.deepEqual(await complete([one, { PartNumber: 4, ETag: one.ETag }]), ['InvalidPart', 400]);
    assert.deepEqual(await complete([one, three, { ...(await put(4, 5 * MiB)) }]), ['EntityTooSmall', 400]);
    assert.deepEqual(await complete([one, await put(5, 6 * MiB), await put(6, 1)]), ['InvalidPart', 400]);
    assert.deepEqual(await complete([]), ['MalformedXML', 400]);
    assert.deepEqual(await complete([one, two, three]), ['no error', 0]);
    assert.deepEqual(await complete([one, two, three]), ['NoSuchUpload', 404]);
  });

  it('take parts from objects, and are gone when they are aborted', async () => {
    const Key = 'copied parts';
    await s3.send(new PutObjectCommand({ Bucket, Key: 'part source', Body: Buffer.alloc(6 * MiB, 7) }));
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
    const copy = (PartNumber: number, CopySourceRange: string) =>
      s3.send(
        new UploadPartCopyCommand({
          Bucket,
          Key,
          UploadId,
          PartNumber,
          CopySource: `${Bucket}/part%20source`,
          CopySourceRange,
        }),
      );
    const one = await copy(1, `bytes=0-${5 * MiB - 1}`);
    const two = await copy(2, 'bytes=5-9');
    const Parts = [one, two].map(({ CopyPartResult }, index) => ({
      PartNumber: index + 1,
      ETag: CopyPartResult!.ETag,
    }));
    await s3.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } }));
    assert.equal((await s3.send(new HeadObjectCommand({ Bucket, Key }))).ContentLength, 5 * MiB + 5);
    const other = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key: 'aborted' }));
    await s3.send(new AbortMultipartUploadCommand({ Bucket, Key: 'aborted', UploadId: other.UploadId }));
    assert.deepEqual(
      await failure(s3.send(new ListPartsCommand({ Bucket, Key: 'aborted', UploadId: other.UploadId }))),
      ['NoSuchUpload', 404],
    );
    assert.deepEqual(await failure(s3.send(new HeadObjectCommand({ Bucket, Key: 'aborted' }))), ['NotFound', 404]);
  });
});

describe('other ways of asking', () => {
  it('are virtual-host style and path style', async () => {
    const forced = client({ forcePathStyle: true });
    await forced.send(new PutObjectCommand({ Bucket, Key: 'styled', Body: 'x' }));
    const { port } = new URL(endpoint);
    const virtual = client({ endpoint: `http://localhost:${port}` });
    const { requestHandler } = virtual.config as any;
    const handle = requestHandler.handle.bind(requestHandler);
    // "photos.localhost" may not resolve here; what is signed is the name.
    requestHandler.handle = (request: any, options: any) => {
      assert.equal(request.hostname, 'photos.localhost');
      request.headers.host = `${request.hostname}:${request.port}`;
      request.hostname = '127.0.0.1';
      return handle(request, options);
    };
    assert.equal(
      await (await virtual.send(new GetObjectCommand({ Bucket, Key: 'styled' }))).Body!.transformToString(),
      'x',
    );
  });
});
