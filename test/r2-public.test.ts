/** Buckets that are public through the edge, and the S3 API behind its TLS. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  PutBucketCorsCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { failure, openS3Bench } from './s3-bench.ts';

const { edge, s3, client } = await openS3Bench();
after(() => edge.close());
const Bucket = 'site';
await s3.send(new CreateBucketCommand({ Bucket }));
const video = randomBytes(3 * 1024 * 1024 + 1);
await s3.send(
  new PutObjectCommand({
    Bucket,
    Key: 'a b/ü.txt',
    Body: 'public',
    ContentType: 'text/plain',
    CacheControl: 'max-age=60',
  }),
);
await s3.send(new PutObjectCommand({ Bucket, Key: 'film.mp4', Body: video, ContentType: 'video/mp4' }));
await edge.selvedge(['zone', 'add', 'shop.example']);
const cwd = await edge.project({ name: 'none', compatibility_date: '2026-11-01' }, {});
const domain = (...args: string[]) => edge.deployed(['r2', 'bucket', 'domain', ...args], { cwd });
const zones = (await edge.api(`/zones?account.id=${edge.accountId}`)).body.result as { id: string; name: string }[];
const zoneId = zones.find(({ name }) => name === 'shop.example')!.id;

describe('a public bucket', () => {
  it('is at its custom domain until that is removed', async () => {
    const host = 'files.shop.example';
    assert.equal((await edge.request(host, '/film.mp4')).status, 404);
    await domain('add', Bucket, '--domain', host, '--zone-id', zoneId, '-y');
    assert.match(await domain('list', Bucket), /files\.shop\.example/);
    assert.match(await domain('get', Bucket, '--domain', host), /shop\.example/);
    const text = await edge.request(host, `/${encodeURIComponent('a b')}/${encodeURIComponent('ü')}.txt?v=1`);
    assert.deepEqual([text.status, text.text], [200, 'public']);
    assert.deepEqual(
      ['content-type', 'cache-control', 'etag', 'accept-ranges'].map((name) => text.headers[name]),
      ['text/plain', 'max-age=60', `"${createHash('md5').update('public').digest('hex')}"`, 'bytes'],
    );
    for (const http2 of [false, true]) {
      const whole = await edge.tls(host, '/film.mp4', { http2 });
      assert.ok(whole.bytes.equals(video));
      const part = await edge.tls(host, '/film.mp4', { http2, headers: { range: 'bytes=1048575-2097153' } });
      assert.equal(part.status, 206);
      assert.ok(part.bytes.equals(video.subarray(1_048_575, 2_097_154)));
    }
    const head = await edge.request(host, '/film.mp4', { method: 'HEAD' });
    assert.deepEqual([head.status, head.headers['content-length'], head.bytes.length], [200, String(video.length), 0]);
    const { etag } = head.headers;
    assert.equal((await edge.request(host, '/film.mp4', { headers: { 'if-none-match': etag! } })).status, 304);
    assert.equal((await edge.request(host, '/film.mp4', { headers: { range: 'bytes=9999999-' } })).status, 416);
    await domain('remove', Bucket, '--domain', host, '-y');
    assert.match((await edge.request(host, '/film.mp4')).text, /No Worker is deployed|files\.shop\.example/);
  });

  it('is read only, and shows no list and no other bucket', async () => {
    await edge.deployed(['r2', 'bucket', 'dev-url', 'enable', Bucket, '-y'], { cwd });
    const { body } = await edge.api(`/accounts/${edge.accountId}/r2/buckets/${Bucket}/domains/managed`);
    const { domain: host, enabled } = body.result;
    assert.deepEqual([enabled, host.endsWith(`.${edge.workersDomain}`)], [true, true]);
    assert.equal((await edge.request(host, '/film.mp4')).status, 200);
    const headers = { 'selvedge-bucket': `${edge.accountId}/other/x` };
    assert.equal((await edge.request(host, '/film.mp4', { headers })).status, 200);
    assert.equal((await edge.request(host, '/')).status, 404);
    assert.deepEqual(
      [(await edge.request(host, '/absent')).status, (await edge.request(host, '/absent')).text],
      [404, 'Object not found\n'],
    );
    for (const method of ['PUT', 'POST', 'DELETE']) {
      assert.equal(
        (await edge.request(host, '/film.mp4', { method, ...(method !== 'DELETE' && { body: 'x' }) })).status,
        405,
      );
    }
    for (const path of ['/../../etc/passwd', '/%2e%2e%2f%2e%2e/etc/passwd', '/%00', '/%ff']) {
      assert.ok([400, 404].includes((await edge.request(host, path)).status), path);
    }
    await edge.deployed(['r2', 'bucket', 'dev-url', 'disable', Bucket, '-y'], { cwd });
    assert.equal((await edge.request(host, '/film.mp4')).status, 404);
  });

  it('lets pages of other origins in by its CORS rules', async () => {
    await edge.deployed(['r2', 'bucket', 'dev-url', 'enable', Bucket, '-y'], { cwd });
    const { body } = await edge.api(`/accounts/${edge.accountId}/r2/buckets/${Bucket}/domains/managed`);
    const { domain: host } = body.result;
    const CORSRules = [
      { AllowedOrigins: ['https://shop.example'], AllowedMethods: ['GET'], AllowedHeaders: ['range'] },
    ];
    await s3.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules } }));
    const get = (origin: string) => edge.request(host, '/film.mp4', { headers: { origin } });
    assert.equal((await get('https://shop.example')).headers['access-control-allow-origin'], 'https://shop.example');
    assert.equal((await get('https://evil.example')).headers['access-control-allow-origin'], undefined);
    const ask = {
      origin: 'https://shop.example',
      'access-control-request-method': 'GET',
      'access-control-request-headers': 'range',
    };
    assert.equal((await edge.request(host, '/film.mp4', { method: 'OPTIONS', headers: ask })).status, 204);
  });

  it('is private again when a bucket is made anew under its name', async () => {
    const again = 'again';
    await s3.send(new CreateBucketCommand({ Bucket: again }));
    await edge.deployed(['r2', 'bucket', 'dev-url', 'enable', again, '-y'], { cwd });
    const { body } = await edge.api(`/accounts/${edge.accountId}/r2/buckets/${again}/domains/managed`);
    await s3.send(new PutObjectCommand({ Bucket: again, Key: 'a', Body: 'a' }));
    assert.equal((await edge.request(body.result.domain, '/a')).status, 200);
    await s3.send(new DeleteObjectCommand({ Bucket: again, Key: 'a' }));
    await s3.send(new DeleteBucketCommand({ Bucket: again }));
    await s3.send(new CreateBucketCommand({ Bucket: again }));
    await s3.send(new PutObjectCommand({ Bucket: again, Key: 'a', Body: 'secret' }));
    assert.equal((await edge.request(body.result.domain, '/a')).status, 404);
  });

  it('cannot take a host name of another account, nor of a Worker', async () => {
    const add = (name: string) =>
      edge.api(`/accounts/${edge.accountId}/r2/buckets/${Bucket}/domains/custom`, {
        method: 'POST',
        body: { domain: name, zoneId },
      });
    for (const name of ['files.other.example', 'x', `store.edge.${edge.workersDomain}`]) {
      const { status, body } = await add(name);
      assert.deepEqual([status, body.success], [400, false], name);
    }
  });
});

describe('the S3 API behind the edge', () => {
  it('is at s3.<workers domain> with TLS, path style and with the bucket in the host', async () => {
    const host = `s3.${edge.workersDomain}`;
    const ca = readFileSync(join(edge.dataDir, 'tls', 'ca.pem'));
    const lookup = (_name: string, options: { all?: boolean }, done: (...found: any[]) => void) =>
      options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4);
    const httpsAgent = new Agent({ ca, lookup: lookup as never });
    const bytes = randomBytes(6 * 1024 * 1024);
    for (const forcePathStyle of [true, false]) {
      const outside = client({
        endpoint: `https://${host}:${edge.https}`,
        forcePathStyle,
        requestHandler: { httpsAgent } as never,
      });
      await outside.send(new PutObjectCommand({ Bucket, Key: 'outside', Body: bytes, ContentType: 'x/y' }));
      const got = await outside.send(new GetObjectCommand({ Bucket, Key: 'outside' }));
      assert.ok(Buffer.from(await got.Body!.transformToByteArray()).equals(bytes));
      assert.deepEqual(await failure(outside.send(new GetObjectCommand({ Bucket, Key: 'absent' }))), [
        'NoSuchKey',
        404,
      ]);
      outside.destroy();
    }
    assert.equal((await edge.tls(host, '/site/outside')).status, 403);
    const made = await edge.selvedge(['account', 'create', '--name', 's3', '--subdomain', 's3']);
    assert.notEqual(made.code, 0);
  });
});
