/** What is set for a bucket through the v4 API: CORS, lifecycle, and the source that missing objects are taken from (Sippy). */
import { z } from '@hono/zod-openapi';
import type { App } from '../../../core/app.ts';
import type { CoreContext } from '../../../core/context.ts';
import { ApiError } from '../../../core/errors.ts';
import { CorsRules, checkCors } from '../cors.ts';
import type { Bucket, Source } from '../documents.ts';
import { LifecycleRules } from '../lifecycle.ts';
import { R2Error } from '../limits.ts';
import { BUCKET, defineR2, requireBucket } from './define.ts';

const text = z.string().min(1).max(1024);
const Credentials = { accessKeyId: text, secretAccessKey: text };
export const SourceBody = z.discriminatedUnion('provider', [
  z.object({ provider: z.literal('aws'), region: z.string().regex(/^[a-z0-9-]{1,32}$/), bucket: text, ...Credentials }),
  /** Any other S3: the URL of its bucket, "https://host/bucket". */
  z.object({
    provider: z.literal('s3'),
    bucketUrl: z.url({ protocol: /^https?$/ }).max(1024),
    region: z
      .string()
      .regex(/^[a-z0-9-]{0,32}$/)
      .default('auto'),
    ...Credentials,
  }),
  z.object({ provider: z.literal('gcs') }).loose(),
]);

export function registerR2Settings(app: App, context: CoreContext): void {
  const { buckets } = context.r2;

  defineR2(app, context, { method: 'get', path: `${BUCKET}/cors`, summary: 'Shows the CORS rules' }, async (call) => {
    const { cors } = await requireBucket(context, call.account, call.params);
    if (cors.length === 0) throw new R2Error('NoSuchCORSConfiguration', 'The CORS configuration does not exist.');
    return { rules: cors };
  });
  defineR2(
    app,
    context,
    { method: 'put', path: `${BUCKET}/cors`, summary: 'Sets the CORS rules', body: z.object({ rules: CorsRules }) },
    async ({ account, params, body }) => {
      await buckets.change(account.id, params.bucket_name!, { cors: checkCors(body.rules) });
      return {};
    },
  );
  defineR2(
    app,
    context,
    { method: 'delete', path: `${BUCKET}/cors`, summary: 'Removes the CORS rules' },
    async ({ account, params }) => {
      await buckets.change(account.id, params.bucket_name!, { cors: [] });
      return {};
    },
  );

  defineR2(
    app,
    context,
    { method: 'get', path: `${BUCKET}/lifecycle`, summary: 'Shows the lifecycle rules' },
    async ({ account, params }) => ({ rules: (await requireBucket(context, account, params)).lifecycle }),
  );
  defineR2(
    app,
    context,
    {
      method: 'put',
      path: `${BUCKET}/lifecycle`,
      summary: 'Sets the lifecycle rules',
      body: z.object({ rules: LifecycleRules }),
    },
    async ({ account, params, body }) => {
      await buckets.change(account.id, params.bucket_name!, { lifecycle: body.rules });
      return {};
    },
  );

  defineR2(
    app,
    context,
    { method: 'get', path: `${BUCKET}/lock`, summary: 'Shows the lock rules: there are none' },
    async ({ account, params }) => {
      await requireBucket(context, account, params);
      return { rules: [] };
    },
  );
  for (const [method, path] of [
    ['put', `${BUCKET}/lock`],
    ['post', `${BUCKET}/local-uploads`],
  ] as const) {
    defineR2(app, context, { method, path, summary: 'Not here yet' }, () => {
      throw new ApiError(10058, 'This Selvedge has no bucket locks and no local uploads yet.');
    });
  }

  defineR2(
    app,
    context,
    { method: 'get', path: `${BUCKET}/sippy`, summary: 'Shows where missing objects are taken from' },
    async ({ account, params }) => sippyShape(await requireBucket(context, account, params)),
  );
  defineR2(
    app,
    context,
    {
      method: 'put',
      path: `${BUCKET}/sippy`,
      summary: 'Sets where missing objects are taken from',
      body: z.object({ source: SourceBody, destination: z.unknown() }),
    },
    async ({ account, params, body }) =>
      sippyShape(await buckets.change(account.id, params.bucket_name!, { source: sourceOf(context, body.source) })),
  );
  defineR2(
    app,
    context,
    { method: 'delete', path: `${BUCKET}/sippy`, summary: 'Missing objects are missing again' },
    async ({ account, params }) => sippyShape(await buckets.change(account.id, params.bucket_name!, { source: null })),
  );
}

/** The source as it is kept: its secret sealed. Throws ApiError for what is not here. */
export function sourceOf({ vault }: CoreContext, body: z.output<typeof SourceBody>): Source {
  if (body.provider === 'gcs') {
    throw new ApiError(
      10058,
      'Google Cloud Storage is read through its S3 interoperability here: give the provider "s3" with an HMAC key.',
    );
  }
  const keys = { accessKeyId: body.accessKeyId, secretAccessKey: vault.seal(body.secretAccessKey) };
  if (body.provider === 'aws') {
    const { provider, region, bucket } = body;
    return {
      provider,
      region,
      bucket: encodeURIComponent(bucket),
      endpoint: `https://s3.${region}.amazonaws.com`,
      ...keys,
    };
  }
  const url = new URL(body.bucketUrl);
  const bucket = url.pathname.replace(/^\/+|\/+$/g, '');
  if (bucket === '' || bucket.includes('/') || url.search || url.username) {
    throw new ApiError(10001, 'body.source.bucketUrl: the URL of a bucket is expected, such as https://host/bucket.');
  }
  return { provider: 's3', region: body.region || 'auto', bucket, endpoint: url.origin, ...keys };
}

function sippyShape({ name, accountId, source }: Bucket) {
  if (!source) return { enabled: false };
  const { provider, region, bucket, endpoint } = source;
  return {
    enabled: true,
    source: { provider, region, bucket, ...(provider === 's3' && { bucketUrl: `${endpoint}/${bucket}` }) },
    destination: { provider: 'r2', account: accountId, bucket: name },
  };
}
