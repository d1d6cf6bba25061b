/** Lifecycle rules of a bucket, as the control API has them (https://developers.cloudflare.com/r2/buckets/object-lifecycles/). */
import { z } from 'zod';
import { R2 } from './limits.ts';

/** Seconds: 100 years. */
const MAX_AGE = 100 * 365 * 86_400;
const Age = z.object({ type: z.literal('Age'), maxAge: z.int().min(0).max(MAX_AGE) });
const OnDate = z.object({
  type: z.literal('Date'),
  date: z.string().refine((text) => !Number.isNaN(Date.parse(text)), 'a date is expected'),
});
const Condition = z.discriminatedUnion('type', [Age, OnDate]);

export const LifecycleRules = z
  .array(
    z.object({
      id: z.string().min(1).max(255),
      enabled: z.boolean().default(true),
      conditions: z.object({ prefix: z.string().max(R2.keyBytes).default('') }).default({ prefix: '' }),
      deleteObjectsTransition: z.object({ condition: Condition }).optional(),
      storageClassTransitions: z
        .array(z.object({ condition: Condition, storageClass: z.literal('InfrequentAccess') }))
        .max(1)
        .optional(),
      abortMultipartUploadsTransition: z.object({ condition: Age }).optional(),
    }),
  )
  .max(R2.lifecycleRules)
  .refine((rules) => new Set(rules.map(({ id }) => id)).size === rules.length, 'each rule needs its own id');
