/** R2 when processes are killed, disks are damaged or full, and clients go away: what was acknowledged is there, and nothing is half. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { eventually } from './harness.ts';
import { BUCKET as Bucket, isSealed, MiB, openR2Bench, sealed } from './r2-bench.ts';
import { failure } from './s3-bench.ts';

const directory = await mkdtemp(join(tmpdir(), 'selvedge-r2-faults-'));
const dataDir = join(directory, 'data');
let bench = await openR2Bench({ dataDir });
after(async () => {
  await bench.edge.close();
  await rm(directory, { recursive: true, force: true });
});

const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');
const put = (Key: string, Body: Buffer) => bench.s3.send(new PutObjectCommand({ Bucket, Key, Body }));
const get = async (Key: string) =>
  Buffer.from(await (await bench.s3.send(new GetObjectCommand({ Bucket, Key }))).Body!.transformToByteArray());

/** Writes all the time over both ways in, and keeps what may be there by what was acknowledged. */
function writers(name: string) {
  /** Key -> ETags: the last one that was acknowledged, and those that failed since then. */
  const allowed = new Map<string, (string | null)[]>();
  const count = { s3: 0, binding: 0, failed: 0 };
  let running = true;
  const { s3, ask } = bench;
  const loops = (['s3', 's3', 's3', 'binding', 'binding', 'binding'] as const).map(async (way, writer) => {
    for (let n = 0; running; n++) {
      const key = `${name}/${writer}/${n % 15}`;
      const bytes = sealed(n % 7 === 0 ? 1_500_000 : 5_000);
      const done =
        way === 's3'
          ? await s3.send(new PutObjectCommand({ Bucket, Key: key, Body: bytes })).then(
              () => true,
              () => false,
            )
          : await ask('PUT', `/${key}`, bytes).then(
              ({ status }) => status === 200,
              () => false,
            );
      allowed.set(key, done ? [md5(bytes)] : [...(allowed.get(key) ?? [null]), md5(bytes)]);
      count[done ? way : 'failed']++;
      if (!done) await sleep(20);
    }
  });
  return {
    count,
    async stop() {
      running = false;
      await Promise.all(loops);
    },
    /** Each object is one that was acknowledged last, or not acknowledged and whole. */
    async check() {
      assert.ok(count.s3 > 30 && count.binding > 30, JSON.stringify(count));
      for (const [key, etags] of allowed) {
        const bytes = await get(key).catch((error) => {
          if (error.name === 'NoSuchKey') return null;
          throw error;
        });
        assert.ok(etags.includes(bytes && md5(bytes)), `${key} is ${bytes && md5(bytes)}, not one of ${etags}`);
        const { status, bytes: bound } = await bench.ask('GET', `/${key}`);
        assert.deepEqual([status, bytes ? bound.equals(bytes) : true], [bytes ? 200 : 404, true]);
      }
      const { Contents = [] } = await bench.s3.send(new ListObjectsV2Command({ Bucket, Prefix: `${name}/` }));
      assert.ok(Contents.length > 0);
      for (const { Key, Size, ETag } of Contents) {
        const bytes = await get(Key!);
        assert.ok(isSealed(bytes), `${Key} is half`);
        assert.deepEqual([Size, ETag], [bytes.length, `"${md5(bytes)}"`]);
      }
    },
  };
}

async function killed(name: 'r2' | 'data') {
  const before = await bench.pidOf(name);
  process.kill(before, 'SIGKILL');
  await eventually(async () => (await bench.pidOf(name)) !== before);
  await eventually(async () =>
    name === 'r2'
      ? bench.s3.send(new HeadObjectCommand({ Bucket, Key: 'absent' })).catch(({ name }) => name === 'NotFound')
      : (await bench.ask('GET', '/absent')).status === 404,
  );
}

/** Sends half of a body, until something of it was stored. */
async function halfPut(port: number, host: string, path: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(`PUT ${path} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: ${20 * MiB}\r\n\r\n`);
  socket.write(Buffer.alloc(10 * MiB, 'x'));
  await eventually(() => bench.incoming().length > 0);
  return socket;
}

describe('kill -9', () => {
  for (const name of ['r2', 'data'] as const) {
    it(`of the ${name} process under load loses no object that was acknowledged, and leaves none half`, async () => {
      const load = writers(name);
      for (let i = 0; i < 3; i++) {
        await sleep(500);
        await killed(name);
      }
      await sleep(300);
      await load.stop();
      await load.check();
      assert.deepEqual(bench.incoming(), []);
    });
  }

  it('of both lets uploads in parts go on with the parts that were acknowledged', async () => {
    const [first, second, last] = [sealed(5 * MiB), sealed(5 * MiB), sealed(1000)] as const;
    const { UploadId } = await bench.s3.send(new CreateMultipartUploadCommand({ Bucket, Key: 'parts' }));
    const upload = async (PartNumber: number, Body: Buffer) => ({
      PartNumber,
      ETag: (await bench.s3.send(new UploadPartCommand({ Bucket, Key: 'parts', UploadId, PartNumber, Body }))).ETag,
    });
    const id: string = (await bench.ask('POST', '/bound')).json();
    const bind = async (part: number, body: Buffer) =>
      (await bench.ask('PUT', `/bound?id=${id}&part=${part}`, body)).json();
    const Parts = [await upload(1, first)];
    const parts = [await bind(1, first)];
    await Promise.all([killed('r2'), killed('data')]);
    Parts.push(await upload(2, second));
    parts.push(await bind(2, second));
    // A part that is broken off does not count.
    const third = new UploadPartCommand({ Bucket, Key: 'parts', UploadId, PartNumber: 3 });
    const url = new URL(await getSignedUrl(bench.s3, third));
    const socket = await halfPut(Number(url.port), url.host, url.pathname + url.search);
    await killed('r2');
    socket.destroy();
    const listed = await bench.s3.send(new ListPartsCommand({ Bucket, Key: 'parts', UploadId }));
    assert.deepEqual(
      listed.Parts!.map(({ PartNumber, ETag }) => ({ PartNumber, ETag })),
      Parts,
    );
    Parts.push(await upload(3, last));
    await bench.s3.send(
      new CompleteMultipartUploadCommand({ Bucket, Key: 'parts', UploadId, MultipartUpload: { Parts } }),
    );
    assert.equal((await bench.ask('POST', `/bound?id=${id}`, JSON.stringify(parts))).status, 200);
    assert.ok((await get('parts')).equals(Buffer.concat([first, second, last])));
    assert.ok((await get('bound')).equals(Buffer.concat([first, second])));
  });

  it('of everything loses no object that was acknowledged, and leaves nothing of what was not', async () => {
    const load = writers('all');
    await sleep(1500);
    const { stdout } = await bench.edge.selvedge(['status', '--json']);
    const { processes, isolates } = JSON.parse(stdout) as Record<'processes' | 'isolates', { pid: number }[]>;
    for (const pid of [bench.edge.pid, ...processes.map((each) => each.pid)]) process.kill(pid, 'SIGKILL');
    await load.stop();
    await eventually(() => isolates.every(({ pid }) => !isAlive(pid)));
    await bench.edge.close();
    bench = await openR2Bench({ dataDir });
    await load.check();
    assert.deepEqual(bench.incoming(), []);
  });
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

describe('a body that was damaged on disk', () => {
  const size = 3 * MiB + 100;
  const bytes = sealed(size);

  /** Puts an object and flips a bit of its body at `offset`. */
  async function damaged(Key: string, offset: number): Promise<string> {
    const before = new Set(bench.blobs());
    await put(Key, bytes);
    const path = bench.blobs().find((each) => !before.has(each) && statSync(each).size === 16 + size + 4 * 4)!;
    const stored = readFileSync(path);
    stored[16 + offset]! ^= 1;
    writeFileSync(path, stored);
    return path.split('/').at(-1)!;
  }

  /** What a client that takes everything gets. */
  async function raw(Key: string): Promise<{ status: number; body: Buffer; isWhole: boolean }> {
    const url = await getSignedUrl(bench.s3, new GetObjectCommand({ Bucket, Key }));
    return new Promise((resolve, reject) => {
      request(url, { agent: false }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk) => chunks.push(chunk));
        response.on('error', () => undefined);
        response.on('close', () =>
          resolve({ status: response.statusCode!, body: Buffer.concat(chunks), isWhole: response.complete }),
        );
      })
        .on('error', reject)
        .end();
    });
  }

  it('at its beginning is an error, over S3 and in a Worker, and the log names the file', async () => {
    const blob = await damaged('broken', 1000);
    assert.deepEqual(await failure(bench.s3.send(new GetObjectCommand({ Bucket, Key: 'broken' }))), [
      'InternalError',
      500,
    ]);
    await eventually(() => bench.edge.output().includes(blob));
    const { status, text } = await bench.ask('GET', '/broken');
    assert.equal(status, 500);
    assert.match(text, /^get: We encountered an internal error\. Please try again\. \(10001\)$/);
    // What is not damaged of it can be read.
    const Range = `bytes=${MiB}-`;
    const rest = await bench.s3.send(new GetObjectCommand({ Bucket, Key: 'broken', Range }));
    assert.ok(Buffer.from(await rest.Body!.transformToByteArray()).equals(bytes.subarray(MiB)));
  });

  it('behind its first MiB breaks the answer off before a wrong byte', async () => {
    const blob = await damaged('broken later', 2 * MiB + 5);
    const { status, body, isWhole } = await raw('broken later');
    assert.deepEqual([status, isWhole], [200, false]);
    assert.ok(body.length <= 2 * MiB && body.equals(bytes.subarray(0, body.length)));
    await eventually(() => bench.edge.output().includes(blob));
    const bound = await bench.ask('GET', '/broken%20later').catch(() => null);
    assert.ok(bound === null || bound.status === 500, `${bound?.status}, ${bound?.bytes.length} bytes`);
  });

  it('is not copied', async () => {
    await damaged('source', 2 * MiB + 5);
    const copy = new CopyObjectCommand({ Bucket, Key: 'copy', CopySource: `${Bucket}/source` });
    assert.deepEqual(await failure(bench.s3.send(copy)), ['InternalError', 500]);
    assert.deepEqual(await failure(bench.s3.send(new HeadObjectCommand({ Bucket, Key: 'copy' }))), ['NotFound', 404]);
    assert.deepEqual(bench.incoming(), []);
  });
});

describe('a client that goes away', () => {
  it('in the middle of an upload leaves nothing', async () => {
    const before = bench.blobs().length;
    const url = new URL(await getSignedUrl(bench.s3, new PutObjectCommand({ Bucket, Key: 'interrupted' })));
    (await halfPut(Number(url.port), url.host, `${url.pathname}${url.search}`)).destroy();
    await eventually(() => bench.incoming().length === 0);
    (await halfPut(bench.edge.http, bench.host, '/interrupted')).destroy();
    await eventually(() => bench.incoming().length === 0);
    assert.deepEqual(await failure(bench.s3.send(new HeadObjectCommand({ Bucket, Key: 'interrupted' }))), [
      'NotFound',
      404,
    ]);
    assert.equal(bench.blobs().length, before);
  });

  it('in the middle of a download, or before it, leaves no file open', async () => {
    await put('wanted', sealed(20 * MiB));
    const url = new URL(await getSignedUrl(bench.s3, new GetObjectCommand({ Bucket, Key: 'wanted' })));
    const leave = (port: number, host: string, path: string, when: 'at once' | 'later') =>
      new Promise<void>((resolve) => {
        const socket = connect(port, '127.0.0.1', () => {
          socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`, () => {
            if (when === 'at once') socket.destroy();
          });
        });
        if (when === 'later') socket.once('data', () => socket.destroy());
        socket.on('error', () => undefined);
        socket.on('close', () => resolve());
      });
    for (let i = 0; i < 40; i++) {
      const when = i % 2 ? 'later' : 'at once';
      await leave(Number(url.port), url.host, `${url.pathname}${url.search}`, when);
      await leave(bench.edge.http, bench.host, '/wanted', when);
    }
    const open = async (name: string) => {
      const pid = await bench.pidOf(name);
      const targets = readdirSync(`/proc/${pid}/fd`).map((fd) => {
        try {
          return readlinkSync(`/proc/${pid}/fd/${fd}`);
        } catch {
          return '';
        }
      });
      return targets.filter((target) => target.startsWith(join(dataDir, 'r2/')));
    };
    for (const name of ['r2', 'data']) await eventually(async () => (await open(name)).length === 0);
  });
});
