/**
 * Jobs that copy a bucket of S3, as Cloudflare's Super Slurper
 * (https://developers.cloudflare.com/api/resources/r2/subresources/super_slurper/).
 */
import { z } from '@hono/zod-openapi';
import { type App, reply } from '../../../core/app.ts';
import type { CoreContext } from '../../../core/context.ts';
import { ApiError } from '../../../core/errors.ts';
import { connectSource, createConnectors } from '../../../data/connectors.ts';
import type { Job, Source } from '../documents.ts';
import { addCounts, isEnded, Jobs, MAX_RUNNING_JOBS, mayRun, type NewLog } from '../jobs.ts';
import { SourceError, SourceReader } from '../source.ts';
import { defineR2 } from './define.ts';
import { sourceOf } from './settings.ts';

const SLURPER = '/accounts/{account_id}/slurper';
const JOBS = `${SLURPER}/jobs`;
const JOB = `${JOBS}/{job_id}`;
const DEFAULT_REGION = 'us-east-1';

const text = z.string().min(1).max(1024);
const JobSource = z.object({
  vendor: z.enum(['s3', 'gcs', 'r2']),
  bucket: text,
  /** Of the S3 API, "https://host"; of Amazon if there is none. */
  endpoint: z
    .url({ protocol: /^https?$/ })
    .max(1024)
    .nullish(),
  region: z
    .string()
    .regex(/^[a-z0-9-]{0,32}$/)
    .nullish(),
  pathPrefix: z.string().max(1024).nullish(),
  keys: z.array(z.string()).nullish(),
  secret: z.object({ accessKeyId: text.optional(), secretAccessKey: text.optional() }).loose(),
});
const Target = z.object({ vendor: z.literal('r2').default('r2'), bucket: z.string() }).loose();
const NewJob = z.object({ overwrite: z.boolean().default(true), source: JobSource, target: Target });
const Part = z.object({
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  offset: z.coerce.number().int().min(0).default(0),
});

export function registerR2Jobs(app: App, context: CoreContext): void {
  const { buckets, ledger } = context.r2;
  const jobs = new Jobs(ledger);
  const required = async (accountId: string, params: Record<string, string>): Promise<Job> => {
    const job = await jobs.find(accountId, params.job_id!);
    if (!job) throw noSuchJob();
    return job;
  };

  defineR2(
    app,
    context,
    { method: 'post', path: JOBS, summary: 'Begins to copy a bucket of S3 into one of R2', body: NewJob },
    async ({ account, body }) => {
      const bucket = await buckets.get(account.id, body.target.bucket);
      const job = await jobs.create(bucket, {
        source: sourceIn(context, body.source),
        prefix: body.source.pathPrefix ?? '',
        overwrite: body.overwrite,
      });
      if (!job) throw tooMany();
      return reply({ id: job.id }, { status: 201 });
    },
  );
  defineR2(
    app,
    context,
    { method: 'get', path: JOBS, summary: 'Lists the jobs that copy buckets, the newest first', query: Part },
    async ({ account, query: { limit, offset } }) =>
      (await jobs.list(account.id)).slice(offset, offset + limit).map(jobShape),
  );
  defineR2(
    app,
    context,
    { method: 'put', path: `${JOBS}/abortAll`, summary: 'Aborts all jobs of the account' },
    async ({ account }) => {
      const open = (await jobs.list(account.id)).filter((job) => !isEnded(job));
      for (const { id } of open) await jobs.change(account.id, id, TO.abort.change, TO.abort.logs);
      return `${open.length} jobs are aborted.`;
    },
  );
  defineR2(app, context, { method: 'get', path: JOB, summary: 'Shows a job' }, async ({ account, params }) =>
    jobShape(await required(account.id, params)),
  );
  defineR2(
    app,
    context,
    { method: 'get', path: `${JOB}/progress`, summary: 'Shows how far a job is' },
    async ({ account, params }) => progressShape(await required(account.id, params)),
  );
  defineR2(
    app,
    context,
    {
      method: 'get',
      path: `${JOB}/logs`,
      summary: 'Shows what happened to a job, and objects that failed',
      query: Part,
    },
    async ({ account, params, query: { limit, offset } }) => {
      const job = await required(account.id, params);
      return (await jobs.logs(job)).slice(offset, offset + limit).map((entry) => ({ ...entry, job: job.id }));
    },
  );
  for (const [name, { summary, change, logs, done }] of Object.entries(TO)) {
    defineR2(app, context, { method: 'put', path: `${JOB}/${name}`, summary }, async ({ account, params }) => {
      const { id } = await required(account.id, params);
      if (name === 'resume' && !mayRun(await jobs.list(account.id))) throw tooMany();
      if (await jobs.change(account.id, id, change, logs)) return `The job is ${done}.`;
      const { status } = await required(account.id, params);
      throw new ApiError(10332, `The job is ${status}: it cannot be ${done}.`);
    });
  }

  const reader = new SourceReader({
    connect: connectSource(createConnectors(context)),
    unseal: (sealed) => context.vault.unseal(sealed),
  });
  defineR2(
    app,
    context,
    {
      method: 'put',
      path: `${SLURPER}/source/connectivity-precheck`,
      summary: 'Tells whether the objects of a source can be listed',
      body: JobSource,
    },
    async ({ account, body }) => {
      const source = sourceIn(context, body);
      try {
        await reader.list(account.id, source, { prefix: body.pathPrefix ?? '', limit: 1 });
        return { connectivityStatus: 'success' };
      } catch (error) {
        if (!(error instanceof SourceError)) throw error;
        return { connectivityStatus: 'error', message: error.message };
      }
    },
  );
  defineR2(
    app,
    context,
    {
      method: 'put',
      path: `${SLURPER}/target/connectivity-precheck`,
      summary: 'Tells whether a bucket can be copied to',
      body: Target,
    },
    async ({ account, body }) => {
      const bucket = await buckets.find(account.id, body.bucket);
      return { connectivityStatus: bucket ? 'success' : 'error' };
    },
  );
}

interface Transition {
  summary: string;
  change(job: Job): Partial<Job> | null;
  logs: NewLog[];
  done: string;
}

/** What is asked of a job, by the last part of its path. Objects that are being copied are copied to their end. */
const TO: Record<'pause' | 'resume' | 'abort', Transition> = {
  pause: {
    summary: 'Pauses a job',
    change: ({ status }) => (status === 'running' ? { status: 'paused' } : null),
    logs: [{ logType: 'migrationPause' }],
    done: 'paused',
  },
  resume: {
    summary: 'Goes on with a paused job where it stopped',
    change: ({ status }) => (status === 'paused' ? { status: 'running', error: null } : null),
    logs: [{ logType: 'migrationResume' }],
    done: 'resumed',
  },
  abort: {
    summary: 'Ends a job',
    change: (job) => (isEnded(job) ? null : { status: 'aborted' }),
    logs: [{ logType: 'migrationAbort' }],
    done: 'aborted',
  },
};

const tooMany = () => new ApiError(10332, `The account has ${MAX_RUNNING_JOBS} jobs running, which is the most.`);
const noSuchJob = () => new ApiError(10331, 'No such job on this account.');

/** The source as it is kept. Throws ApiError for what is not here. */
function sourceIn(context: CoreContext, given: z.output<typeof JobSource>): Source {
  const { vendor, bucket, endpoint, secret } = given;
  if (vendor === 'r2') {
    throw new ApiError(
      10058,
      'R2 at Cloudflare is read as any S3 here: give the vendor "s3" with the endpoint https://<account id>.r2.cloudflarestorage.com.',
    );
  }
  if (given.keys?.length) throw new ApiError(10058, 'Lists of keys are not here: give a pathPrefix.');
  const { accessKeyId, secretAccessKey } = secret;
  if (vendor === 'gcs') return sourceOf(context, { provider: 'gcs' });
  if (!accessKeyId || !secretAccessKey) {
    throw new ApiError(10001, 'body.source.secret: accessKeyId and secretAccessKey are expected.');
  }
  const credentials = { accessKeyId, secretAccessKey };
  if (!endpoint) {
    return sourceOf(context, { provider: 'aws', region: given.region || DEFAULT_REGION, bucket, ...credentials });
  }
  const url = new URL(endpoint);
  if (url.href !== `${url.origin}/`) {
    throw new ApiError(10001, 'body.source.endpoint: an origin is expected, such as https://host, without the bucket.');
  }
  const bucketUrl = `${url.origin}/${encodeURIComponent(bucket)}`;
  return sourceOf(context, { provider: 's3', bucketUrl, region: given.region ?? 'auto', ...credentials });
}

function jobShape({ id, createdAt, finishedAt, overwrite, status, source, prefix, bucket, error }: Job) {
  return {
    id,
    createdAt: new Date(createdAt).toISOString(),
    finishedAt: finishedAt === null ? null : new Date(finishedAt).toISOString(),
    overwrite,
    status,
    error,
    source: {
      vendor: 's3',
      bucket: decodeURIComponent(source.bucket),
      endpoint: source.endpoint,
      region: source.region,
      pathPrefix: prefix === '' ? null : prefix,
      keys: null,
    },
    target: { vendor: 'r2', bucket: bucket.name, jurisdiction: 'default' },
  };
}

function progressShape({ id, createdAt, status, done, page, error }: Job) {
  const { objects, transferred, skipped, failed, bytes } = addCounts(done, page);
  return {
    id,
    createdAt: new Date(createdAt).toISOString(),
    status,
    objects,
    transferredObjects: transferred,
    skippedObjects: skipped,
    failedObjects: failed,
    transferredBytes: bytes,
    error,
  };
}
