/** Large objects stream to disk and back: the processes that pass them on keep little of them in memory. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, statfsSync } from 'node:fs';
import { request } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { after, afterEach, describe, it } from 'node:test';
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { BUCKET as Bucket, MiB, openR2Bench } from './r2-bench.ts';

const SIZE = 1024 * MiB;
const BOUND_SIZE = 512 * MiB;
const PART = 64 * MiB;
/** What bodies add to a process, whatever their size: what it has without them is its programs. */
const MAX_GROWTH = 72 * MiB;
/** What replaced objects leave is on disk, too. */
const NEEDED = 2 * SIZE + BOUND_SIZE + 1024 * MiB;

const { edge, s3, host, pidOf } = await openR2Bench({ config: { plan: { body_bytes: BOUND_SIZE } } });
after(() => edge.close());
const { bavail, bsize } = statfsSync(edge.dataDir);
const skip = bavail * bsize < NEEDED && `${NEEDED / MiB} MiB of free disk are needed`;

const block = randomBytes(MiB);

/** MiB number `index` of every body here: each is another one. */
function fill(into: Buffer, index: number): Buffer {
  block.copy(into);
  into.writeUInt32LE(index, (index * 4099) % (MiB - 4));
  return into;
}

function* generated(start: number, end: number): Generator<Buffer> {
  for (let at = start; at < end; at += MiB) yield fill(Buffer.allocUnsafe(MiB), at / MiB);
}

/** Sends start..end of the body; the answer's ETag. */
async function send(url: URL, headers: Record<string, string>, start: number, end: number): Promise<string> {
  const asked = request(url, { method: 'PUT', agent: false, headers: { ...headers, 'content-length': end - start } });
  const [[answer]] = await Promise.all([
    once(asked, 'response'),
    pipeline(Readable.from(generated(start, end), { objectMode: false, highWaterMark: 2 * MiB }), asked),
  ]);
  assert.equal(answer.statusCode, 200);
  answer.resume();
  return answer.headers.etag;
}

/** Reads it all; asserts that each byte is what was sent. */
async function check(url: URL, headers: Record<string, string>, size: number): Promise<void> {
  const asked = request(url, { agent: false, headers }).end();
  const [answer] = await once(asked, 'response');
  assert.equal(answer.statusCode, 200);
  const expected = Buffer.allocUnsafe(MiB);
  let at = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    for (let rest = chunk; rest.length > 0; ) {
      const within = at % MiB;
      if (within === 0) fill(expected, at / MiB);
      const length = Math.min(rest.length, MiB - within);
      if (rest.compare(expected, within, within + length, 0, length) !== 0)
        assert.fail(`a byte near ${at} is another one`);
      rest = rest.subarray(length);
      at += length;
    }
  }
  assert.equal(at, size);
}

/** Memory of a process: now, or the most that it ever had. */
function memory(pid: number, field: 'VmRSS' | 'VmHWM'): number {
  const [, kilobytes] = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))!;
  return Number(kilobytes) * 1024;
}

const began = new Map<string, number>();
for (const name of ['r2', 'data']) began.set(name, memory(await pidOf(name), 'VmRSS'));

async function within(name: string, t: { diagnostic(text: string): void }): Promise<void> {
  const [before, peak] = [began.get(name)!, memory(await pidOf(name), 'VmHWM')];
  t.diagnostic(
    `${name}: ${Math.round(before / MiB)} MiB of memory at first, ${Math.round(peak / MiB)} MiB at the most`,
  );
  assert.ok(peak < before + MAX_GROWTH, `${Math.round((peak - before) / MiB)} MiB more`);
}

const timed = async (t: { diagnostic(text: string): void }, what: string, size: number, work: Promise<unknown>) => {
  const since = performance.now();
  await work;
  t.diagnostic(`${what}: ${Math.round(size / 1e3 / (performance.now() - since))} MB/s`);
};

const putUrl = async (Key: string) => new URL(await getSignedUrl(s3, new PutObjectCommand({ Bucket, Key })));
const getUrl = async (Key: string) => new URL(await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key })));

describe('an object of 1 GiB', { skip }, () => {
  afterEach(() => s3.send(new DeleteObjectCommand({ Bucket, Key: 'large' })));

  it('goes through the S3 API in one piece, and back, with little memory', async (t) => {
    await timed(t, 'put', SIZE, send(await putUrl('large'), {}, 0, SIZE));
    await timed(t, 'get', SIZE, check(await getUrl('large'), {}, SIZE));
    await within('r2', t);
  });

  it('and so in parts, four at a time', async (t) => {
    const Key = 'large';
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
    const Parts: { PartNumber: number; ETag: string }[] = [];
    let next = 1;
    const sender = async () => {
      for (let PartNumber = next++; (PartNumber - 1) * PART < SIZE; PartNumber = next++) {
        const command = new UploadPartCommand({ Bucket, Key, UploadId, PartNumber });
        const url = new URL(await getSignedUrl(s3, command));
        Parts.push({ PartNumber, ETag: await send(url, {}, (PartNumber - 1) * PART, PartNumber * PART) });
      }
    };
    await timed(t, 'parts', SIZE, Promise.all([sender(), sender(), sender(), sender()]));
    Parts.sort((a, b) => a.PartNumber - b.PartNumber);
    await s3.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } }));
    await timed(t, 'get', SIZE, check(await getUrl(Key), {}, SIZE));
    await within('r2', t);
  });
});

it('an object of 512 MiB goes through a Worker’s binding, and back, with little memory', {
  skip,
}, async (t) => {
  const url = new URL(`http://127.0.0.1:${edge.http}/bound`);
  await timed(t, 'put', BOUND_SIZE, send(url, { host }, 0, BOUND_SIZE));
  await timed(t, 'get', BOUND_SIZE, check(url, { host }, BOUND_SIZE));
  await within('data', t);
});
