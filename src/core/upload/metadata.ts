/** The `metadata` part of an upload, as wrangler sends it. https://developers.cloudflare.com/workers/configuration/multipart-upload-metadata/ */
import { z } from '@hono/zod-openapi';
import { describeIssue } from '../app.ts';
import { ApiError } from '../errors.ts';

const Name = z.string().min(1).max(256);

export const Metadata = z.object({
  main_module: Name.optional(),
  body_part: Name.optional(),
  bindings: z.array(z.object({ name: Name, type: z.string().max(64) }).loose()).default([]),
  compatibility_date: z.string().optional(),
  compatibility_flags: z.array(z.string().max(128)).max(100).default([]),
  migrations: z.unknown().optional(),
  containers: z.array(z.unknown()).optional(),
  exports: z.unknown().optional(),
  keep_bindings: z.array(z.string()).default([]),
  keep_assets: z.boolean().optional(),
  limits: z
    .object({ cpu_ms: z.number().int().positive().optional(), subrequests: z.number().int().positive().optional() })
    .optional(),
  placement: z.record(z.string(), z.unknown()).nullish(),
  observability: z.record(z.string(), z.unknown()).nullish(),
  logpush: z.boolean().optional(),
  tail_consumers: z.array(z.object({ service: z.string() }).loose()).nullish(),
  streaming_tail_consumers: z.array(z.unknown()).nullish(),
  annotations: z.record(z.string().max(64), z.string().max(1000)).default({}),
  tags: z.array(z.string().max(256)).max(20).optional(),
  assets: z
    .object({ jwt: z.string().optional(), /** Checked by products/assets/config.ts. */ config: z.unknown().optional() })
    .optional(),
});
export type Metadata = z.output<typeof Metadata>;

/** Validates. Throws ApiError 10006 that names the field. */
export function readMetadata(value: unknown): Metadata {
  const parsed = Metadata.safeParse(value);
  if (!parsed.success) throw new ApiError(10006, describeIssue(parsed.error, 'metadata'));
  return parsed.data;
}
