/** Buckets in the S3 API (https://developers.cloudflare.com/r2/api/s3/api/#bucket-level-operations). */
import { z } from 'zod';
import { CorsRules, checkCors } from '../cors.ts';
import type { CorsRule, LifecycleRule } from '../documents.ts';
import { LifecycleRules } from '../lifecycle.ts';
import { R2Error } from '../limits.ts';
import type { Call } from './call.ts';
import { READ } from './objects.ts';
import { many, parseXml } from './xml.ts';

const SHOW = { level: 'bucket', writes: false } as const;
const CHANGE = { level: 'bucket', writes: true } as const;
const DAY_S = 86_400;

export async function listBuckets(call: Call): Promise<void> {
  call.authorize(SHOW, null);
  const { accountId } = call.token;
  const all = await call.parts.r2.buckets.list(accountId);
  call.sendXml('ListAllMyBucketsResult', {
    Buckets: { Bucket: all.map(({ name, createdOn }) => ({ Name: name, CreationDate: createdOn })) },
    Owner: { ID: accountId, DisplayName: accountId },
  });
}

export async function headBucket(call: Call): Promise<void> {
  const { location } = await call.bucket(READ);
  call.send(200, { 'x-amz-bucket-region': location });
}

export async function createBucket(call: Call): Promise<void> {
  call.authorize(CHANGE);
  const text = await call.text();
  const given = text.trim() === '' ? {} : parseXml(text);
  const location = (given.CreateBucketConfiguration as { LocationConstraint?: string } | undefined)?.LocationConstraint;
  const known =
    location && !['auto', 'us-east-1'].includes(location) ? { location: location.toUpperCase().slice(0, 32) } : {};
  await call.parts.r2.buckets.create(call.token.accountId, call.target.bucket!, known);
  call.send(200, { location: `/${call.target.bucket}`, 'content-length': 0 });
}

export async function deleteBucket(call: Call): Promise<void> {
  await call.bucket(CHANGE);
  await call.parts.r2.buckets.remove(call.token.accountId, call.target.bucket!);
  call.send(204);
}

export async function getBucketLocation(call: Call): Promise<void> {
  const { location } = await call.bucket(READ);
  call.sendXml('LocationConstraint', { '#text': location });
}

export async function getBucketCors(call: Call): Promise<void> {
  const { cors } = await call.bucket(SHOW);
  if (cors.length === 0) throw new R2Error('NoSuchCORSConfiguration', 'The CORS configuration does not exist.');
  call.sendXml('CORSConfiguration', {
    CORSRule: cors.map(({ id, allowed, exposeHeaders, maxAgeSeconds }) => ({
      ...(id && { ID: id }),
      AllowedOrigin: allowed.origins,
      AllowedMethod: allowed.methods,
      ...(allowed.headers && { AllowedHeader: allowed.headers }),
      ...(exposeHeaders && { ExposeHeader: exposeHeaders }),
      ...(maxAgeSeconds !== undefined && { MaxAgeSeconds: maxAgeSeconds }),
    })),
  });
}

const text = z.string();
const CorsDocument = z.object({
  CORSConfiguration: z.object({
    CORSRule: many(
      z.object({
        ID: text.optional(),
        AllowedOrigin: many(text),
        AllowedMethod: many(text),
        AllowedHeader: many(text),
        ExposeHeader: many(text),
        MaxAgeSeconds: z.coerce.number().int().optional(),
      }),
    ),
  }),
});

export async function putBucketCors(call: Call): Promise<void> {
  const { name, accountId } = await call.bucket(CHANGE);
  const document = parsed(CorsDocument, parseXml(await call.text()));
  const rules = document.CORSConfiguration.CORSRule.map((rule) => ({
    ...(rule.ID && { id: rule.ID }),
    allowed: {
      origins: rule.AllowedOrigin,
      methods: rule.AllowedMethod,
      ...(rule.AllowedHeader.length > 0 && { headers: rule.AllowedHeader }),
    },
    ...(rule.ExposeHeader.length > 0 && { exposeHeaders: rule.ExposeHeader }),
    ...(rule.MaxAgeSeconds !== undefined && { maxAgeSeconds: rule.MaxAgeSeconds }),
  }));
  await call.parts.r2.buckets.change(accountId, name, { cors: checkCors(parsed(CorsRules, rules) as CorsRule[]) });
  call.send(200, { 'content-length': 0 });
}

export async function deleteBucketCors(call: Call): Promise<void> {
  const { name, accountId } = await call.bucket(CHANGE);
  await call.parts.r2.buckets.change(accountId, name, { cors: [] });
  call.send(204);
}

export async function getBucketLifecycle(call: Call): Promise<void> {
  const { lifecycle } = await call.bucket(SHOW);
  if (lifecycle.length === 0) {
    throw new R2Error('NoSuchLifecycleConfiguration', 'The lifecycle configuration does not exist.');
  }
  call.sendXml('LifecycleConfiguration', { Rule: lifecycle.map(ruleElement) });
}

function ruleElement(rule: LifecycleRule) {
  const {
    deleteObjectsTransition: expire,
    storageClassTransitions: classes = [],
    abortMultipartUploadsTransition: abort,
  } = rule;
  return {
    ID: rule.id,
    Status: rule.enabled ? 'Enabled' : 'Disabled',
    Filter: { Prefix: rule.conditions.prefix },
    ...(expire && { Expiration: when(expire.condition) }),
    Transition: classes.map(({ condition }) => ({ ...when(condition), StorageClass: 'STANDARD_IA' })),
    ...(abort && {
      AbortIncompleteMultipartUpload: { DaysAfterInitiation: Math.ceil(abort.condition.maxAge / DAY_S) },
    }),
  };
}

function when(condition: { type: 'Age'; maxAge: number } | { type: 'Date'; date: string }) {
  return condition.type === 'Age' ? { Days: Math.ceil(condition.maxAge / DAY_S) } : { Date: condition.date };
}

const days = z.coerce.number().int().min(0);
const When = { Days: days.optional(), Date: text.optional() };
const LifecycleDocument = z.object({
  LifecycleConfiguration: z.object({
    Rule: many(
      z.object({
        ID: text.optional(),
        Status: z.enum(['Enabled', 'Disabled']),
        Prefix: text.optional(),
        Filter: z.union([z.literal(''), z.object({ Prefix: text.optional() }).strict()]).optional(),
        Expiration: z.object(When).optional(),
        Transition: many(z.object({ ...When, StorageClass: text })),
        AbortIncompleteMultipartUpload: z.object({ DaysAfterInitiation: days }).optional(),
      }),
    ),
  }),
});

export async function putBucketLifecycle(call: Call): Promise<void> {
  const { name, accountId } = await call.bucket(CHANGE);
  const document = parsed(LifecycleDocument, parseXml(await call.text()));
  const rules = document.LifecycleConfiguration.Rule.map((rule, index) => ({
    id: rule.ID || `rule-${index + 1}`,
    enabled: rule.Status === 'Enabled',
    conditions: { prefix: (rule.Filter || undefined)?.Prefix ?? rule.Prefix ?? '' },
    ...(rule.Expiration && { deleteObjectsTransition: { condition: conditionOf(rule.Expiration) } }),
    ...(rule.Transition.length > 0 && {
      storageClassTransitions: rule.Transition.map((transition) => ({
        condition: conditionOf(transition),
        storageClass: 'InfrequentAccess',
      })),
    }),
    ...(rule.AbortIncompleteMultipartUpload && {
      abortMultipartUploadsTransition: {
        condition: { type: 'Age', maxAge: rule.AbortIncompleteMultipartUpload.DaysAfterInitiation * DAY_S },
      },
    }),
  }));
  const lifecycle = parsed(LifecycleRules, rules) as LifecycleRule[];
  await call.parts.r2.buckets.change(accountId, name, { lifecycle });
  call.send(200, { 'content-length': 0 });
}

export async function deleteBucketLifecycle(call: Call): Promise<void> {
  const { name, accountId } = await call.bucket(CHANGE);
  await call.parts.r2.buckets.change(accountId, name, { lifecycle: [] });
  call.send(204);
}

function conditionOf({ Days, Date: date }: { Days?: number; Date?: string }) {
  return Days === undefined ? { type: 'Date', date: date ?? '' } : { type: 'Age', maxAge: Days * DAY_S };
}

function parsed<T extends z.ZodType>(schema: T, value: unknown): z.output<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new R2Error(
    'MalformedXML',
    `The XML is not what is expected at ${issue?.path.join('/') || 'its root'}: ${issue?.message}`,
  );
}
