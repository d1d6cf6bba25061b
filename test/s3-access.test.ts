/** Who may do what over S3: signatures, presigned URLs, tokens for less than the account, CORS, and what attackers try. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { request } from 'node:http';
import { connect } from 'node:net';
import { after, describe, it } from 'node:test';
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  PutBucketCorsCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { AwsV4Signer } from 'aws4fetch';
import { eventually } from './harness.ts';
import { failure, openS3Bench } from './s3-bench.ts';

const { edge, s3, client, scoped, credentials, endpoint } = await openS3Bench();
after(() => edge.close());
const Bucket = 'private';
await s3.send(new CreateBucketCommand({ Bucket }));
await s3.send(new CreateBucketCommand({ Bucket: 'other' }));
await s3.send(new PutObjectCommand({ Bucket, Key: 'a', Body: 'secret' }));

type Change = (sent: { path: string; headers: Record<string, string>; body?: string | Buffer }) => void;

/** A request signed by another library, changed before it is sent. */
async function signed(
  path: string,
  {
    method = 'GET',
    headers = {},
    body,
    change,
    ...aws
  }: {
    method?: string;
    headers?: Record<string, string>;
    body?: string | Buffer;
    change?: Change;
    datetime?: string;
    region?: string;
    secretAccessKey?: string;
  } = {},
): Promise<{ status: number; text: string; headers: Record<string, unknown> }> {
  const made = await new AwsV4Signer({
    url: endpoint + path,
    method,
    headers: {
      'x-amz-content-sha256': createHash('sha256')
        .update(body ?? '')
        .digest('hex'),
      ...headers,
    },
    service: 's3',
    region: 'auto',
    ...credentials,
    ...aws,
  }).sign();
  const sent = {
    path: made.url.pathname + made.url.search,
    headers: Object.fromEntries(made.headers as Headers),
    ...(body && { body }),
  };
  change?.(sent);
  return send(method, sent);
}

function send(
  method: string,
  { path, headers, body }: { path: string; headers: Record<string, string>; body?: string | Buffer },
): Promise<{ status: number; text: string; headers: Record<string, unknown> }> {
  return new Promise((resolve, reject) => {
    const asked = request(endpoint, { method, path, headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode!, text, headers: response.headers }));
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

const code = ({ status, text }: { status: number; text: string }) => [status, /<Code>(\w+)<\/Code>/.exec(text)?.[1]];

describe('signatures', () => {
  it('are needed, and must be of a known key, the right secret and this moment', async () => {
    assert.deepEqual(code(await send('GET', { path: '/private/a', headers: {} })), [403, 'AccessDenied']);
    assert.equal((await signed('/private/a')).text, 'secret');
    assert.deepEqual(code(await signed('/private/a', { secretAccessKey: 'x'.repeat(64) })), [
      403,
      'SignatureDoesNotMatch',
    ]);
    const unknown = client({ credentials: { accessKeyId: 'f'.repeat(32), secretAccessKey: 'x' } });
    assert.deepEqual(await failure(unknown.send(new GetObjectCommand({ Bucket, Key: 'a' }))), ['Unauthorized', 401]);
    const at = (ms: number) => new Date(Date.now() + ms).toISOString().replace(/[-:]|\.\d+/g, '');
    assert.deepEqual(code(await signed('/private/a', { datetime: at(-16 * 60_000) })), [403, 'RequestTimeTooSkewed']);
    assert.deepEqual(code(await signed('/private/a', { datetime: at(16 * 60_000) })), [403, 'RequestTimeTooSkewed']);
    assert.equal((await signed('/private/a', { datetime: at(-10 * 60_000) })).status, 200);
    assert.deepEqual(code(await signed('/private/a', { region: 'mars-1' })), [400, 'InvalidRegionName']);
    assert.equal((await signed('/private/a', { region: 'us-east-1' })).status, 200);
  });

  it('hold for the path, the query, the headers and the body that were signed', async () => {
    const changed = (change: Change, over: object = {}) => signed('/private/b?x=1', { change, ...over });
    assert.deepEqual(
      code(
        await changed((sent) => {
          sent.path = '/private/a';
        }),
      ),
      [403, 'SignatureDoesNotMatch'],
    );
    assert.deepEqual(
      code(
        await changed((sent) => {
          sent.path = '/private/b?x=2';
        }),
      ),
      [403, 'SignatureDoesNotMatch'],
    );
    const put = { method: 'PUT', body: 'one' };
    assert.deepEqual(
      code(
        await changed((sent) => {
          sent.body = 'two';
        }, put),
      ),
      [400, 'BadDigest'],
    );
    assert.deepEqual(
      code(
        await changed((sent) => {
          sent.headers['x-amz-meta-role'] = 'admin';
        }, put),
      ),
      [403, 'AccessDenied'],
    );
    assert.deepEqual(
      code(
        await changed((sent) => {
          sent.headers['x-amz-content-sha256'] = 'UNSIGNED-PAYLOAD';
        }, put),
      ),
      [403, 'SignatureDoesNotMatch'],
    );
    assert.deepEqual(code(await signed('/private/b')), [404, 'NoSuchKey']);
    for (const authorization of [
      'AWS4-HMAC-SHA256',
      'AWS4-HMAC-SHA256 Credential=a',
      'AWS a:b',
      'Bearer x',
      `AWS4-HMAC-SHA256 Credential=${'a/'.repeat(5000)}`,
    ]) {
      const { status } = await send('GET', { path: '/private/a', headers: { authorization } });
      assert.ok(status === 400 || status === 403 || status === 431, `${authorization.slice(0, 40)}: ${status}`);
    }
  });

  it('of chunks hold for each chunk', async () => {
    // As clients over plain HTTP send a stream: every chunk has a signature that goes on from the one before.
    const { createHmac } = await import('node:crypto');
    const datetime = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
    const scope = `${datetime.slice(0, 8)}/auto/s3/aws4_request`;
    const hmac = (key: Buffer | string, text: string) => createHmac('sha256', key).update(text).digest();
    const key = scope
      .split('/')
      .reduce<Buffer | string>((made, part) => hmac(made, part), `AWS4${credentials.secretAccessKey}`);
    const sha = (text: string) => createHash('sha256').update(text).digest('hex');
    const attempt = async (Key: string, tamper: (body: string) => string) => {
      const headers = {
        'x-amz-content-sha256': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
        'x-amz-decoded-content-length': '10',
        'content-encoding': 'aws-chunked',
      };
      return signed(`/private/${Key}`, {
        method: 'PUT',
        headers,
        datetime,
        change(sent) {
          let before = /Signature=(\w+)/.exec(sent.headers.authorization!)![1]!;
          let body = '';
          for (const chunk of ['hello', 'world', '']) {
            before = hmac(
              key,
              ['AWS4-HMAC-SHA256-PAYLOAD', datetime, scope, before, sha(''), sha(chunk)].join('\n'),
            ).toString('hex');
            body += `${chunk.length.toString(16)};chunk-signature=${before}\r\n${chunk}\r\n`;
          }
          sent.body = tamper(body);
          sent.headers['content-length'] = String(Buffer.byteLength(sent.body));
        },
      });
    };
    assert.equal((await attempt('chunked', (body) => body)).status, 200);
    assert.equal((await signed('/private/chunked')).text, 'helloworld');
    assert.deepEqual(code(await attempt('forged', (body) => body.replace('world', 'w0rld'))), [
      403,
      'SignatureDoesNotMatch',
    ]);
    assert.deepEqual(code(await attempt('forged', (body) => body.replace(/5;chunk[\s\S]*$/, ''))), [
      400,
      'IncompleteBody',
    ]);
    assert.deepEqual(code(await attempt('forged', (body) => body.replace('5;', 'zz;'))), [400, 'InvalidRequest']);
    assert.deepEqual(code(await signed('/private/forged')), [404, 'NoSuchKey']);
  });
});

describe('presigned URLs', () => {
  it('let a browser read and write for a while, and no more than that', async () => {
    const get = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: 'a' }), { expiresIn: 60 });
    assert.equal(await (await fetch(get)).text(), 'secret');
    assert.equal((await fetch(get, { method: 'PUT', body: 'x' })).status, 403);
    assert.equal((await fetch(get.replace('/private/a', '/private/b'))).status, 403);
    assert.equal((await fetch(get.replace('X-Amz-Expires=60', 'X-Amz-Expires=600'))).status, 403);
    const put = await getSignedUrl(s3, new PutObjectCommand({ Bucket, Key: 'from browser' }), { expiresIn: 60 });
    assert.equal((await fetch(put, { method: 'PUT', body: 'uploaded' })).status, 200);
    assert.equal((await signed('/private/from%20browser')).text, 'uploaded');
    const old = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: 'a' }), {
      expiresIn: 60,
      signingDate: new Date(Date.now() - 120_000),
    });
    const expired = await fetch(old);
    assert.deepEqual(code({ status: expired.status, text: await expired.text() }), [400, 'ExpiredRequest']);
  });
});

describe('tokens for less than the account', () => {
  it('read, or write, the buckets that they name', async () => {
    const get = (Bucket: string) => new GetObjectCommand({ Bucket, Key: 'a' });
    const put = (Bucket: string) => new PutObjectCommand({ Bucket, Key: 'w', Body: 'w' });
    await s3.send(new PutObjectCommand({ Bucket: 'other', Key: 'a', Body: 'other' }));
    const reader = client({ credentials: await scoped(['--r2', 'read', '--bucket', Bucket]) });
    await reader.send(get(Bucket));
    await reader.send(new ListObjectsV2Command({ Bucket }));
    for (const command of [
      put(Bucket),
      get('other'),
      new DeleteObjectCommand({ Bucket, Key: 'a' }),
      new ListBucketsCommand({}),
      new CreateBucketCommand({ Bucket: 'mine' }),
    ]) {
      assert.deepEqual(
        await failure(reader.send(command as GetObjectCommand)),
        ['AccessDenied', 403],
        command.constructor.name,
      );
    }
    const writer = client({ credentials: await scoped(['--r2', 'write']) });
    for (const command of [put(Bucket), put('other'), get('other')]) await writer.send(command as GetObjectCommand);
    assert.deepEqual(await failure(writer.send(new ListBucketsCommand({}))), ['AccessDenied', 403]);
  });

  it('end when they are revoked', async () => {
    const made = await scoped(['--r2', 'read']);
    const reader = client({ credentials: made });
    await reader.send(new GetObjectCommand({ Bucket, Key: 'a' }));
    await edge.selvedge(['token', 'revoke', made.accessKeyId]);
    const ended = () => failure(reader.send(new GetObjectCommand({ Bucket, Key: 'a' })));
    await eventually(async () => (await ended())[0] === 'Unauthorized');
  });

  it('find nothing of another account’s buckets', async () => {
    const made = await edge.selvedge(['account', 'create', '--name', 'other', '--subdomain', 'other']);
    const account = /\b[0-9a-f]{32}\b/.exec(made.stdout)![0];
    const stranger = client({ credentials: await scoped(['--account', account, '--r2', 'write']) });
    assert.deepEqual(await failure(stranger.send(new GetObjectCommand({ Bucket, Key: 'a' }))), ['NoSuchBucket', 404]);
    assert.deepEqual(await failure(stranger.send(new ListObjectsV2Command({ Bucket }))), ['NoSuchBucket', 404]);
  });
});

describe('browsers', () => {
  it('are let in by the CORS rules of the bucket, and by nothing else', async () => {
    const CORSRules = [
      {
        AllowedOrigins: ['https://*.shop.example'],
        AllowedMethods: ['GET', 'PUT'],
        AllowedHeaders: ['content-type'],
        ExposeHeaders: ['ETag'],
        MaxAgeSeconds: 60,
      },
    ];
    await s3.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules } }));
    const ask = (origin: string, method: string, headers = '') =>
      send('OPTIONS', {
        path: '/private/a',
        headers: {
          origin,
          'access-control-request-method': method,
          ...(headers && { 'access-control-request-headers': headers }),
        },
      });
    const allowed = await ask('https://www.shop.example', 'PUT', 'Content-Type');
    assert.equal(allowed.status, 204);
    assert.deepEqual(
      ['origin', 'methods', 'headers'].map((name) => allowed.headers[`access-control-allow-${name}`]),
      ['https://www.shop.example', 'GET, PUT', 'Content-Type'],
    );
    assert.equal(allowed.headers['access-control-max-age'], '60');
    for (const refused of [
      await ask('https://evil.example', 'PUT'),
      await ask('https://www.shop.example', 'DELETE'),
      await ask('https://www.shop.example', 'PUT', 'x-other'),
    ]) {
      assert.deepEqual(code(refused), [403, 'AccessDenied']);
    }
    const url = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: 'a' }));
    const got = await fetch(url, { headers: { origin: 'https://www.shop.example' } });
    assert.deepEqual(
      [got.headers.get('access-control-allow-origin'), got.headers.get('access-control-expose-headers')],
      ['https://www.shop.example', 'ETag'],
    );
    assert.equal(
      (await fetch(url, { headers: { origin: 'https://evil.example' } })).headers.get('access-control-allow-origin'),
      null,
    );
  });
});

describe('what attackers try', () => {
  it('finds keys only, never files: "..", NUL, 1024 bytes and any Unicode are names', async () => {
    const names = [
      '../../../etc/passwd',
      '..',
      'a/../b',
      './x',
      'a\0b',
      'a\\b',
      '%2e%2e/x',
      '\u{10FFFF}',
      'x'.repeat(1024),
      'ü'.repeat(512),
      '//',
      'a//b',
    ];
    for (const Key of names) {
      const path = `/private/${encodeURIComponent(Key)
        .replaceAll('.', '%2E')
        .replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)}`;
      // aws4fetch's URL would resolve dots: the path is signed as the server sees it.
      await s3
        .send(new PutObjectCommand({ Bucket: 'other', Key: `t/${Key}`.slice(0, 1024), Body: Key }))
        .catch((error) => {
          if (Buffer.byteLength(`t/${Key}`) <= 1024) throw error;
        });
      assert.ok((await send('GET', { path, headers: {} })).status === 403);
    }
    assert.deepEqual(await failure(s3.send(new PutObjectCommand({ Bucket, Key: 'x'.repeat(1025), Body: '' }))), [
      'InvalidObjectName',
      400,
    ]);
    const { Contents } = await s3.send(
      new ListObjectsV2Command({ Bucket: 'other', Prefix: 't/', EncodingType: 'url' }),
    );
    const found = new Set(Contents!.map(({ Key }) => decodeURIComponent(Key!)));
    for (const name of ['../../../etc/passwd', 'a/../b', 'a\0b', '\u{10FFFF}', 'a//b'])
      assert.ok(found.has(`t/${name}`), JSON.stringify(name));
  });

  it('is refused in XML: entities, depth, and what is none', async () => {
    const bomb = `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><Delete><Object><Key>&b;</Key></Object></Delete>`;
    for (const body of [
      bomb,
      '<Delete>'.repeat(50_000),
      '<a',
      '',
      '{}',
      '<Delete></Delete>',
      `<Delete>${'<Object><Key>a</Key></Object>'.repeat(1001)}</Delete>`,
    ]) {
      const answer = await signed('/private?delete', { method: 'POST', body: body || ' ' });
      assert.deepEqual(code(answer), [400, 'MalformedXML'], body.slice(0, 40));
    }
    const large = await signed('/private?delete', {
      method: 'POST',
      body: `<Delete>${' '.repeat(3_000_000)}</Delete>`,
    });
    assert.deepEqual(code(large), [400, 'EntityTooLarge']);
  });

  it('leaves nothing when an upload breaks off', async () => {
    const url = new URL(await getSignedUrl(s3, new PutObjectCommand({ Bucket, Key: 'broken off' })));
    await new Promise<void>((resolve) => {
      const socket = connect(Number(url.port), '127.0.0.1', () => {
        socket.write(
          `PUT ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\nContent-Length: 1000000\r\n\r\n${'x'.repeat(500_000)}`,
        );
        setTimeout(() => socket.destroy(), 200);
      });
      socket.on('close', () => resolve());
    });
    assert.deepEqual(code(await signed('/private/broken%20off')), [404, 'NoSuchKey']);
  });
});
