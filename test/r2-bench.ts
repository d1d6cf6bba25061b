/** R2 in tests that need both ways in: the S3 API, and a Worker with a binding to the same bucket. */
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { CreateBucketCommand } from '@aws-sdk/client-s3';
import { eventually } from './harness.ts';
import { openS3Bench } from './s3-bench.ts';

export const BUCKET = 'files';
export const MiB = 1024 * 1024;

/** `/?list=<options>`; `/<key>`: GET and PUT of objects, POST of an upload in parts with its steps in the query. What fails is 500 with the reason. */
const WORKER = `
export default {
  async fetch(request, { BUCKET }) {
    const { pathname, searchParams } = new URL(request.url);
    const key = decodeURIComponent(pathname.slice(1));
    const id = searchParams.get('id');
    const upload = id && BUCKET.resumeMultipartUpload(key, id);
    try {
      if (searchParams.has('list')) {
        const page = await BUCKET.list(JSON.parse(searchParams.get('list')));
        return Response.json({ ...page, objects: page.objects.map(({ key, customMetadata }) => ({ key, customMetadata })) });
      }
      if (request.method === 'GET') {
        const object = await BUCKET.get(key);
        return object ? new Response(object.body, { headers: { etag: object.httpEtag } }) : new Response('absent', { status: 404 });
      }
      if (request.method === 'PUT' && upload) return Response.json(await upload.uploadPart(Number(searchParams.get('part')), request.body));
      if (request.method === 'PUT') return Response.json((await BUCKET.put(key, request.body)).etag);
      if (upload) return Response.json((await upload.complete(await request.json())).etag);
      return Response.json((await BUCKET.createMultipartUpload(key)).uploadId);
    } catch (error) {
      return new Response(error.message, { status: 500 });
    }
  },
};`;

type StartOptions = Parameters<typeof openS3Bench>[0];

export async function openR2Bench(options: StartOptions = {}) {
  const bench = await openS3Bench(options);
  const { edge } = bench;
  await bench.s3.send(new CreateBucketCommand({ Bucket: BUCKET })).catch((error) => {
    if (error.name !== 'BucketAlreadyOwnedByYou') throw error;
  });
  const project = await edge.project(
    {
      name: 'files',
      main: 'index.js',
      compatibility_date: '2026-11-01',
      r2_buckets: [{ binding: 'BUCKET', bucket_name: BUCKET }],
    },
    { 'index.js': WORKER },
  );
  await edge.deployed(['deploy'], { cwd: project });
  const host = edge.host('files');
  return {
    ...bench,
    host,
    /** A request to the Worker. */
    ask: (method: string, path: string, body?: string | Buffer) => edge.request(host, path, { method, body }),
    /** The process of this name, as soon as there is one. */
    pidOf: (name: string) =>
      eventually(async () => {
        const { code, stdout } = await edge.selvedge(['status', '--json']);
        if (code !== 0) return false;
        const { processes } = JSON.parse(stdout) as { processes: { name: string; pid: number }[] };
        return processes.find((process) => process.name === name && process.pid > 0)?.pid;
      }),
    /** Files of bodies, without those that are not whole yet. */
    blobs: () => filesBelow(join(edge.dataDir, 'r2')).filter((path) => !path.includes('/incoming/')),
    incoming: () => filesBelow(join(edge.dataDir, 'r2', 'incoming')),
  };
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
}

/** Bytes that say themselves whether they are whole: their hash comes first. */
export function sealed(size: number): Buffer {
  const bytes = randomBytes(Math.max(0, size - 16));
  return Buffer.concat([createHash('md5').update(bytes).digest(), bytes]);
}

export function isSealed(bytes: Buffer): boolean {
  return createHash('md5').update(bytes.subarray(16)).digest().equals(bytes.subarray(0, 16));
}
