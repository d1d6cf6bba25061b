/** Signatures by an example of their inventors, and what no well-behaved client sends. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AwsV4Signer } from 'aws4fetch';
import fc from 'fast-check';
import type { R2Error } from '../limits.ts';
import { accessKeyOf, parseQuery, type SignedRequest, verify } from './signature.ts';

// "Example: GET Object", https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
const SECRET = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY';
const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
const NOW = Date.UTC(2013, 4, 24);
const SIGNATURE = 'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41';
const example = (change: Partial<Record<'authorization' | 'range' | 'date', string>> = {}): SignedRequest => ({
  method: 'GET',
  path: '/test.txt',
  query: '',
  rawHeaders: [
    'Host',
    'examplebucket.s3.amazonaws.com',
    'Range',
    change.range ?? 'bytes=0-9',
    'X-Amz-Content-Sha256',
    EMPTY,
    'X-Amz-Date',
    change.date ?? '20130524T000000Z',
    'Authorization',
    change.authorization ??
      `AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=${SIGNATURE}`,
  ],
});
const refusal = (request: SignedRequest, now = NOW) => {
  try {
    return verify(request, SECRET, now).signature;
  } catch (error) {
    return (error as R2Error).error;
  }
};

describe('a signature', () => {
  it('is what AWS’s own example says', () => {
    assert.equal(accessKeyOf(example()), 'AKIAIOSFODNN7EXAMPLE');
    assert.equal(refusal(example()), SIGNATURE);
    assert.equal(refusal(example({ range: 'bytes=0-8' })), 'SignatureDoesNotMatch');
  });

  it('holds for 15 minutes around its time', () => {
    const quarter = 15 * 60_000;
    for (const now of [NOW - quarter, NOW + quarter]) assert.equal(refusal(example(), now), SIGNATURE);
    for (const now of [NOW - quarter - 1, NOW + quarter + 1]) {
      assert.equal(refusal(example(), now), 'RequestTimeTooSkewed');
    }
  });

  it('that is not of the form is refused', () => {
    const credential = 'Credential=A/20130524/us-east-1/s3/aws4_request';
    for (const authorization of [
      '',
      'AWS4-HMAC-SHA256 ',
      'AWS4-ECDSA-P256-SHA256 Credential=x',
      'AWS4-HMAC-SHA256 Credential=A/20130524/us-east-1/ec2/aws4_request,SignedHeaders=host,Signature=a',
      'AWS4-HMAC-SHA256 Credential=A/2013/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=a',
      `AWS4-HMAC-SHA256 Credential=${'A'.repeat(129)}/20130524/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=a`,
      `AWS4-HMAC-SHA256 ${credential},Signature=a`,
      `AWS4-HMAC-SHA256 ${credential},SignedHeaders=,Signature=a`,
    ]) {
      assert.match(refusal(example({ authorization })), /^(InvalidArgument|AccessDenied)$/, authorization);
    }
    const partly = `AWS4-HMAC-SHA256 ${credential},SignedHeaders=host,Signature=${SIGNATURE}`;
    // Somebody in between could have put in the others.
    assert.equal(refusal(example({ authorization: partly })), 'AccessDenied');
    const unsigned = `AWS4-HMAC-SHA256 ${credential},SignedHeaders=host;x-amz-date;x-amz-content-sha256,Signature=`;
    for (const signature of ['', 'a', SIGNATURE.toUpperCase(), 'ü'.repeat(64)]) {
      assert.equal(refusal(example({ authorization: unsigned + signature })), 'SignatureDoesNotMatch', signature);
    }
    // The last one is of another day than the credential.
    for (const date of ['', 'now', '20130524T000000', '20131324T000000Z', '20130523T235959Z']) {
      assert.equal(refusal(example({ date })), 'InvalidArgument', date);
    }
  });

  it('of another signer holds, whatever stands in the path and the query', async () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 8 });
    const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 });
    const pairs = fc.uniqueArray(fc.tuple(name, text), { maxLength: 4, selector: ([name]) => name });
    await fc.assert(
      fc.asyncProperty(text, pairs, async (key, pairs) => {
        fc.pre(!/^\.{1,2}$/.test(key));
        const query = pairs.map((pair) => pair.map((each) => encodeURIComponent(each)).join('=')).join('&');
        const path = `/bucket/${encodeURIComponent(key)}`;
        const signed = await new AwsV4Signer({
          url: `http://localhost:9000${path}${query && `?${query}`}`,
          accessKeyId: 'A',
          secretAccessKey: SECRET,
          service: 's3',
          region: 'auto',
          datetime: '20130524T000000Z',
          headers: { 'x-amz-content-sha256': EMPTY },
        }).sign();
        const rawHeaders = ['host', 'localhost:9000', ...[...(signed.headers as Headers)].flat()];
        const { pathname, search } = signed.url;
        const request = { method: 'GET', path: pathname, query: search.slice(1), rawHeaders };
        assert.match(refusal(request), /^[0-9a-f]{64}$/);
        const changed = { ...request, path: `${pathname}x` };
        assert.equal(refusal(changed), 'SignatureDoesNotMatch');
      }),
      { numRuns: 200 },
    );
  });
});

describe('a presigned URL', () => {
  const url = (change: Record<string, string> = {}): SignedRequest => ({
    method: 'GET',
    path: '/test.txt',
    query: String(
      new URLSearchParams({
        'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
        'X-Amz-Credential': 'AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request',
        'X-Amz-Date': '20130524T000000Z',
        'X-Amz-Expires': '86400',
        'X-Amz-SignedHeaders': 'host',
        'X-Amz-Signature': 'aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404',
        ...change,
      }),
    ),
    rawHeaders: ['Host', 'examplebucket.s3.amazonaws.com'],
  });

  it('is what AWS’s own example says, and ends when it says', () => {
    assert.match(refusal(url()), /^aeeed9/);
    assert.match(refusal(url(), NOW + 86_400_000), /^aeeed9/);
    assert.equal(refusal(url(), NOW + 86_400_001), 'ExpiredRequest');
    assert.equal(refusal(url({ 'X-Amz-Expires': '86401' })), 'SignatureDoesNotMatch');
  });

  it('is refused for more than 7 days, with another algorithm, and beside another signature', () => {
    for (const expires of ['604801', '0', '-1', '1.5', 'x', '']) {
      assert.equal(refusal(url({ 'X-Amz-Expires': expires })), 'InvalidArgument', expires);
    }
    assert.equal(refusal(url({ 'X-Amz-Algorithm': 'none' })), 'InvalidArgument');
    const both = url();
    assert.equal(refusal({ ...both, rawHeaders: [...both.rawHeaders, 'Authorization', 'AWS4'] }), 'InvalidArgument');
    const added = { ...both, rawHeaders: [...both.rawHeaders, 'x-amz-acl', 'public-read'] };
    assert.equal(refusal(added), 'AccessDenied');
  });
});

it('a query that is no UTF-8 is refused', () => {
  assert.throws(
    () => parseQuery('a=%ff'),
    (error: R2Error) => error.error === 'InvalidArgument',
  );
  assert.deepEqual(parseQuery('a=b=c&d&e=+%2B'), [
    ['a', 'b=c'],
    ['d', ''],
    ['e', ' +'],
  ]);
});
