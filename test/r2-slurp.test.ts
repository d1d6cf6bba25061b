/** Moving in from S3 on demand: a second Selvedge is the source, and a gate before it counts what it is asked. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { glob, mkdtemp, readFile, rm } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import {
  CopyObjectCommand,
  CreateBucketCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { layout } from '../src/model/layout.ts';
import { openCertificates } from '../src/pop/certificates.ts';
import { eventually } from './harness.ts';
import { failure, openS3Bench } from './s3-bench.ts';
import { openGate } from './s3-source.ts';

const MiB = 1024 * 1024;
const old = await openS3Bench();
const directory = await mkdtemp(join(tmpdir(), 'selvedge-slurp-'));
const trusted = await openCertificates(join(directory, 'trusted'));
const { edge, s3, client } = await openS3Bench({
  args: ['--allow-egress', '127.0.0.0/8', '--allow-egress', '::1'],
  env: { SELVEDGE_LOG: 'debug', NODE_EXTRA_CA_CERTS: layout(join(directory, 'trusted')).caCertificate },
});
const gate = await openGate(old.endpoint);
after(async () => {
  await gate.close();
  await Promise.all([edge.close(), old.edge.close()]);
  await rm(directory, { recursive: true });
});
await old.s3.send(new CreateBucketCommand({ Bucket: 'old' }));
await s3.send(new CreateBucketCommand({ Bucket: 'new' }));
const cwd = await edge.project({ name: 'none', compatibility_date: '2026-11-01' }, {});
const sippy = (...args: string[]) => edge.deployed(['r2', 'bucket', 'sippy', ...args], { cwd });

const put = (Key: string, Body: string | Buffer, more = {}) =>
  old.s3.send(new PutObjectCommand({ Bucket: 'old', Key, Body, ...more }));
const get = async (Key: string, more = {}) => {
  const { Body, ...answer } = await s3.send(new GetObjectCommand({ Bucket: 'new', Key, ...more }));
  return { ...answer, bytes: Buffer.from(await Body!.transformToByteArray()) };
};
const refusal = (Key: string, Bucket = 'new') =>
  s3.send(new GetObjectCommand({ Bucket, Key })).then(
    () => assert.fail('it was answered'),
    (error) => ({ status: error.$metadata.httpStatusCode, code: error.name, message: error.message as string }),
  );
const stored = async (Bucket = 'new') =>
  ((await s3.send(new ListObjectsV2Command({ Bucket }))).Contents ?? []).map(({ Key }) => Key);

/** Points a bucket to a source through the API; gives its answer. */
async function point(bucket: string, source: Record<string, unknown>) {
  const body = {
    source: { provider: 's3', bucketUrl: `${gate.url}/old`, ...old.credentials, ...source },
    destination: { provider: 'r2' },
  };
  const path = `/accounts/${edge.accountId}/r2/buckets/${bucket}/sippy`;
  return edge.api(path, { method: 'PUT', body });
}
async function bucketWith(name: string, source: Record<string, unknown>) {
  await s3.send(new CreateBucketCommand({ Bucket: name }));
  assert.equal((await point(name, source)).status, 200);
}

describe('the source of a bucket', () => {
  it('is set, shown and removed by wrangler', async () => {
    const aws = ['--provider', 'AWS', '--bucket', 'theirs', '--region', 'eu-central-1'];
    const keys = ['--access-key-id', 'AKIA1', '--secret-access-key', 'their-secret'];
    const own = ['--r2-access-key-id', 'own', '--r2-secret-access-key', 'own-secret'];
    assert.match(
      await sippy('enable', 'new', ...aws, ...keys, ...own),
      /Successfully enabled Sippy on the 'new' bucket/,
    );
    const shown = await sippy('get', 'new');
    assert.match(shown, /enabled: true/);
    assert.match(shown, /provider: 'aws',\s+region: 'eu-central-1',\s+bucket: 'theirs'/);
    assert.doesNotMatch(shown, /secret/);
    assert.match(await sippy('disable', 'new'), /Successfully disabled Sippy/);
    assert.match(await sippy('get', 'new'), /enabled: false/);
  });

  it('is refused if it is no bucket of S3', async () => {
    for (const bucketUrl of [
      'http://127.0.0.1/',
      'ftp://host/bucket',
      'http://host/a/b',
      'http://u:p@host/a',
      'nowhere',
    ]) {
      assert.equal((await point('new', { bucketUrl })).status, 400, bucketUrl);
    }
    const { status, body } = await point('new', { provider: 'gcs' });
    assert.deepEqual([status, body.errors[0].code], [400, 10058]);
    assert.equal((await point('absent', {})).status, 404);
  });
});

describe('a missing object', () => {
  it('is fetched once with its metadata, and served from here when the source is gone', async () => {
    await put('dir/a ü+&%2F.txt', 'grüße', {
      ContentType: 'text/plain',
      CacheControl: 'max-age=60',
      ContentDisposition: 'inline',
      ContentLanguage: 'de',
      Expires: new Date(86_400_000),
      Metadata: { by: 'me', n: '1' },
    });
    assert.equal((await point('new', {})).status, 200);
    const head = await s3.send(new HeadObjectCommand({ Bucket: 'new', Key: 'dir/a ü+&%2F.txt' }));
    assert.deepEqual(await stored(), ['dir/a ü+&%2F.txt']);
    const first = await get('dir/a ü+&%2F.txt');
    gate.answerWith = () => ({ status: 500 });
    const second = await get('dir/a ü+&%2F.txt', { Range: 'bytes=2-4' });
    gate.answerWith = () => null;
    assert.equal(first.bytes.toString(), 'grüße');
    assert.deepEqual(second.bytes, Buffer.from('grüße').subarray(2, 5));
    for (const { ETag, ContentType, CacheControl, ContentDisposition, ContentLanguage, ExpiresString, Metadata } of [
      head,
      first,
    ]) {
      assert.deepEqual(
        { ETag, ContentType, CacheControl, ContentDisposition, ContentLanguage, ExpiresString, Metadata },
        {
          ETag: `"${createHash('md5').update('grüße').digest('hex')}"`,
          ContentType: 'text/plain',
          CacheControl: 'max-age=60',
          ContentDisposition: 'inline',
          ContentLanguage: 'de',
          ExpiresString: new Date(86_400_000).toUTCString(),
          Metadata: { by: 'me', n: '1' },
        },
      );
    }
    assert.equal(gate.asked.length, 1, gate.asked.join('\n'));
  });

  it('is asked for once however many readers want it', async () => {
    const body = randomBytes(3 * MiB);
    await put('popular', body);
    const many = client({ maxAttempts: 1, requestHandler: { httpAgent: { maxSockets: 40 } } });
    const read = async () => {
      const { Body } = await many.send(new GetObjectCommand({ Bucket: 'new', Key: 'popular' }));
      return Buffer.from(await Body!.transformToByteArray()).equals(body);
    };
    assert.deepEqual(new Set(await Promise.all(Array.from({ length: 40 }, read))), new Set([true]));
    assert.equal(gate.count('/old/popular'), 1);
  });

  it('comes through the binding of a Worker and as the source of a copy', async () => {
    await put('worker', 'from there', { Metadata: { by: 'them' } });
    const project = await edge.project(
      {
        name: 'reader',
        main: 'index.js',
        compatibility_date: '2026-11-01',
        r2_buckets: [{ binding: 'BUCKET', bucket_name: 'new' }],
      },
      {
        'index.js': `export default { async fetch(request, { BUCKET }) {
          const key = decodeURIComponent(new URL(request.url).pathname.slice(1));
          const head = await BUCKET.head(key);
          const object = await BUCKET.get(key);
          return Response.json(object && { text: await object.text(), custom: object.customMetadata, same: head.version === object.version });
        } };`,
      },
    );
    await edge.deployed(['deploy'], { cwd: project });
    const read = async (key: string) => (await edge.request(edge.host('reader'), `/${key}`)).json();
    assert.deepEqual(await read('worker'), { text: 'from there', custom: { by: 'them' }, same: true });
    assert.equal(gate.count('/old/worker'), 1);
    assert.equal(await read('absent'), null);
    await put('copied', 'copy me');
    await s3.send(new CopyObjectCommand({ Bucket: 'new', Key: 'copy', CopySource: 'new/copied' }));
    assert.equal((await get('copy')).bytes.toString(), 'copy me');
  });

  it('that the source does not have either is not found', async () => {
    assert.deepEqual(await failure(get('nowhere')), ['NoSuchKey', 404]);
    await sippy('disable', 'new');
    await put('later', 'x');
    assert.deepEqual(await failure(get('later')), ['NoSuchKey', 404]);
    await point('new', {});
    assert.equal((await get('later')).bytes.toString(), 'x');
  });

  it('does not replace what is here, nor what is stored here while it comes', async () => {
    await put('own', 'theirs');
    await s3.send(new PutObjectCommand({ Bucket: 'new', Key: 'own', Body: 'ours' }));
    assert.equal((await get('own')).bytes.toString(), 'ours');
    assert.equal(gate.count('/old/own'), 0);
    await put('race', Buffer.alloc(2 * MiB, 't'));
    gate.holdAfter = MiB;
    const slow = get('race');
    await eventually(() => gate.count('/old/race') === 1);
    await s3.send(new PutObjectCommand({ Bucket: 'new', Key: 'race', Body: 'ours' }));
    gate.release();
    assert.equal((await slow).bytes.toString(), 'ours');
    assert.equal((await get('race')).bytes.toString(), 'ours');
  });

  it('is not found outside of the source’s bucket', async () => {
    await old.s3.send(new CreateBucketCommand({ Bucket: 'theirs' }));
    await old.s3.send(new PutObjectCommand({ Bucket: 'theirs', Key: 'secret', Body: 'not yours' }));
    // Clients of S3 would make another path of such keys; Workers do not.
    const host = edge.host('reader');
    for (const key of ['../theirs/secret', 'a/../../theirs/secret', './../theirs/secret', '..']) {
      assert.equal((await edge.request(host, `/${encodeURIComponent(key)}`)).status, 500, key);
    }
    assert.equal((await edge.request(host, `/${encodeURIComponent('..%2Ftheirs%2Fsecret')}`)).text, 'null');
    const asked = new Set(gate.asked.filter((each) => each.includes('theirs')));
    assert.deepEqual([...asked], ['GET /old/..%252Ftheirs%252Fsecret']);
  });
});

describe('a source that fails', () => {
  it('is said with 503, and nothing is stored', async () => {
    await put('there', Buffer.alloc(MiB, 'x'));
    const silent = createServer((socket) => socket.on('error', () => undefined).once('data', () => socket.destroy()));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const dead = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    await bucketWith('wrong-secret', { secretAccessKey: 'wrong' });
    await bucketWith('wrong-bucket', { bucketUrl: `${gate.url}/nothing` });
    await bucketWith('hangs-up', { bucketUrl: `${dead}/old` });
    await bucketWith('unreachable', { bucketUrl: 'http://127.0.0.1:1/old' });
    await bucketWith('no-name', { bucketUrl: 'http://nowhere.invalid/old' });
    await bucketWith('private', { bucketUrl: 'http://10.0.0.1/old' });
    for (const [bucket, message] of [
      ['wrong-secret', /the source http:\/\/127\.0\.0\.1:\d+\/old answered 403 SignatureDoesNotMatch\.$/],
      ['wrong-bucket', /answered 404 NoSuchBucket\.$/],
      ['hangs-up', /cannot be reached: socket hang up\.$/],
      ['unreachable', /cannot be reached: connect ECONNREFUSED 127\.0\.0\.1:1\.$/],
      ['no-name', /cannot be reached: .*nowhere\.invalid/],
      ['private', /cannot be reached: 10\.0\.0\.1 is not a public address\.$/],
    ] as const) {
      const refused = await refusal('there', bucket);
      assert.deepEqual([refused.status, refused.code], [503, 'ServiceUnavailable'], bucket);
      assert.match(refused.message, message);
      assert.deepEqual(await stored(bucket), []);
    }
    silent.close();
  });

  it('may be anybody, if its certificate is not good', async () => {
    const foreign = await openCertificates(join(directory, 'foreign'));
    const [good, bad] = [
      await openGate(old.endpoint, await trusted.issue('localhost')),
      await openGate(old.endpoint, await foreign.issue('localhost')),
    ];
    await bucketWith('tls', { bucketUrl: `${good.url}/old` });
    await bucketWith('tls-wrong', { bucketUrl: `${bad.url}/old` });
    const keys = Array.from({ length: 5 }, (_, n) => `tls/${n}`);
    for (const key of keys) await put(key, key);
    for (const Key of keys) await s3.send(new HeadObjectCommand({ Bucket: 'tls', Key }));
    assert.deepEqual(await stored('tls'), keys);
    const refused = await refusal('there', 'tls-wrong');
    assert.deepEqual([refused.status, bad.asked.length], [503, 0]);
    assert.match(refused.message, /cannot be reached: .*certificate/);
    await good.close();
    await bad.close();
  });

  it('may break off in the middle of an object', async () => {
    await put('broken', randomBytes(2 * MiB));
    gate.cutAfter = MiB;
    const refused = await refusal('broken');
    gate.cutAfter = null;
    assert.equal(refused.status, 503);
    assert.match(refused.message, /the source broke off in the middle of an object/);
    assert.ok(!(await stored()).includes('broken'));
    assert.equal((await get('broken')).bytes.length, 2 * MiB);
  });

  it('may be this machine’s own network, which nobody allowed', async () => {
    await old.s3.send(new CreateBucketCommand({ Bucket: 'inward' }));
    const body = { source: { provider: 's3', bucketUrl: `${gate.url}/old`, ...old.credentials }, destination: {} };
    const path = `/accounts/${old.edge.accountId}/r2/buckets/inward/sippy`;
    assert.equal((await old.edge.api(path, { method: 'PUT', body })).status, 200);
    const before = gate.asked.length;
    const error = await old.s3.send(new GetObjectCommand({ Bucket: 'inward', Key: 'there' })).catch((thrown) => thrown);
    assert.equal(error.$metadata.httpStatusCode, 503);
    assert.match(error.message, /127\.0\.0\.1 is not a public address/);
    assert.equal(gate.asked.length, before);
  });
});

describe('a large object', () => {
  const body = randomBytes(24 * MiB);
  const holds = async () => (await stored()).filter((key) => key?.startsWith('large'));

  it('is read while it comes, by several and in parts, and kept when its readers go away', async () => {
    const upload = new Upload({
      client: old.s3,
      params: { Bucket: 'old', Key: 'large', Body: body },
      partSize: 8 * MiB,
    });
    const { ETag } = (await upload.done()) as { ETag: string };
    assert.match(ETag, /-3"$/);
    gate.holdAfter = 13 * MiB;
    const first = await s3.send(new GetObjectCommand({ Bucket: 'new', Key: 'large' }));
    const stream = first.Body as IncomingMessage;
    await once(stream, 'readable');
    const { bytes, ContentRange } = await get('large', { Range: `bytes=${9 * MiB}-${9 * MiB + 9}` });
    assert.deepEqual(bytes, body.subarray(9 * MiB, 9 * MiB + 10));
    assert.equal(ContentRange, `bytes ${9 * MiB}-${9 * MiB + 9}/${24 * MiB}`);
    const head = await s3.send(new HeadObjectCommand({ Bucket: 'new', Key: 'large' }));
    assert.deepEqual([head.ContentLength, head.ETag, first.ETag], [24 * MiB, ETag, ETag]);
    const tail = get('large', { Range: 'bytes=-5' });
    assert.deepEqual(await holds(), []);
    stream.destroy();
    gate.release();
    assert.deepEqual((await tail).bytes, body.subarray(-5));
    await eventually(async () => (await holds()).length === 1);
    const again = await get('large');
    assert.ok(again.bytes.equals(body));
    assert.equal(again.ETag, ETag);
    assert.equal(gate.count('/old/large'), 1);
  });

  it('is stored though its only reader does not read on', async () => {
    await put('large-slow', body);
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: 'new', Key: 'large-slow' }));
    const stream = Body as IncomingMessage;
    await eventually(async () => (await holds()).includes('large-slow'));
    const hash = createHash('md5');
    for await (const chunk of stream) hash.update(chunk);
    assert.equal(hash.digest('hex'), createHash('md5').update(body).digest('hex'));
  });

  it('is not stored if its source breaks off, and its readers notice', async () => {
    await put('large-broken', body);
    gate.cutAfter = 13 * MiB;
    await assert.rejects(get('large-broken'));
    gate.cutAfter = MiB;
    await eventually(async () => (await refusal('large-broken')).status === 503);
    gate.cutAfter = null;
    assert.ok(!(await holds()).includes('large-broken'));
    assert.ok((await get('large-broken')).bytes.equals(body));
  });
});

it('the secret of a source shows in no answer, no file and no log', async () => {
  const secret = old.credentials.secretAccessKey;
  const { body } = await edge.api(`/accounts/${edge.accountId}/r2/buckets/new/sippy`);
  assert.equal(body.result.source.bucketUrl, `${gate.url}/old`);
  assert.ok(!JSON.stringify(body).includes(secret));
  const files: string[] = [];
  for await (const entry of glob('**', { cwd: edge.dataDir, withFileTypes: true })) {
    if (entry.isFile()) files.push(join(entry.parentPath, entry.name));
  }
  assert.ok(files.some((file) => file.endsWith('r2.sqlite')));
  for (const file of files) assert.ok(!(await readFile(file)).includes(secret), file);
  assert.match(edge.output(), /an object could not be taken from its source/);
  assert.ok(!edge.output().includes(secret));
});
