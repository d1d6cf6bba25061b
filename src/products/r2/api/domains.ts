/** Where a bucket is public: custom domains, and the managed one that stands for r2.dev (https://developers.cloudflare.com/r2/buckets/public-buckets/). */
import { z } from '@hono/zod-openapi';
import { newId } from '../../../core/accounts.ts';
import type { App } from '../../../core/app.ts';
import type { CoreContext } from '../../../core/context.ts';
import { ApiError } from '../../../core/errors.ts';
import { zoneFor } from '../../../core/route-pattern.ts';
import { serialized } from '../../../core/serialize.ts';
import { untilLive } from '../../../core/store.ts';
import { normalizeHostname } from '../../../core/zones.ts';
import type { Account, CustomDomain } from '../../../model/documents.ts';
import { keys } from '../../../model/keys.ts';
import type { Bucket } from '../documents.ts';
import { R2 } from '../limits.ts';
import { BUCKET, defineR2, requireBucket } from './define.ts';

const CUSTOM = `${BUCKET}/domains/custom`;
const MANAGED = `${BUCKET}/domains/managed`;

export function registerR2Domains(app: App, context: CoreContext): void {
  const { ledger } = context;

  defineR2(
    app,
    context,
    { method: 'get', path: CUSTOM, summary: 'Lists the custom domains of a bucket' },
    async ({ account, params }) => {
      const bucket = await requireBucket(context, account, params);
      const domains = (await domainsOf(context, account, bucket)).filter(({ managed }) => !managed);
      return { domains: domains.map(domainShape) };
    },
  );

  defineR2(
    app,
    context,
    {
      method: 'post',
      path: CUSTOM,
      summary: 'Makes a bucket public at a host name of one of the account’s zones',
      body: z.object({
        domain: z.string().min(1).max(253),
        zoneId: z.string().nullish(),
        enabled: z.boolean().default(true),
        minTLS: z.string().nullish(),
      }),
    },
    ({ account, params, body }) =>
      serialized(`domains/${account.id}`, async () => {
        const bucket = await requireBucket(context, account, params);
        const hostname = normalizeHostname(body.domain);
        if (!hostname) throw new ApiError(10082, `${JSON.stringify(body.domain)} is no host name.`);
        const zone = await zoneFor(ledger, account.id, hostname, body.zoneId ? { zone_id: body.zoneId } : {});
        const before = (await ledger.get<CustomDomain>(keys.domain(hostname)))?.value;
        if (before && before.bucket?.id !== bucket.id) {
          const holder = before.bucket ? `the bucket ${before.bucket.name}` : `the Worker ${before.script}`;
          throw new ApiError(100116, `${hostname} is already the custom domain of ${holder}.`);
        }
        if ((await domainsOf(context, account, bucket)).length >= R2.customDomainsPerBucket) {
          throw new ApiError(10023, `A bucket has at most ${R2.customDomainsPerBucket} custom domains.`);
        }
        const domain: CustomDomain = {
          id: before?.id ?? newId(),
          hostname,
          zoneId: zone.id,
          zoneName: zone.name,
          accountId: account.id,
          script: '',
          bucket: { name: bucket.name, id: bucket.id },
          createdOn: before?.createdOn ?? new Date().toISOString(),
        };
        await ledger.put(keys.domain(hostname), domain);
        await untilLive(context, await ledger.sequence());
        return domainShape(domain);
      }),
  );

  const ONE = `${CUSTOM}/{domain}`;
  defineR2(
    app,
    context,
    { method: 'get', path: ONE, summary: 'Shows a custom domain of a bucket' },
    async ({ account, params }) => domainShape(await requireDomain(context, account, params)),
  );
  defineR2(
    app,
    context,
    {
      method: 'put',
      path: ONE,
      summary: 'Settings of a custom domain; the oldest version of TLS is set in the configuration of this Selvedge',
      body: z.object({ enabled: z.boolean().optional(), minTLS: z.string().optional() }).loose(),
    },
    async ({ account, params, body }) => {
      const domain = await requireDomain(context, account, params);
      if (body.minTLS !== undefined) {
        throw new ApiError(10058, 'The oldest version of TLS is set by host in `tls.hosts` of the configuration here.');
      }
      return domainShape(domain);
    },
  );
  defineR2(
    app,
    context,
    { method: 'delete', path: ONE, summary: 'A bucket is public there no longer' },
    async ({ account, params }) => {
      const { hostname } = await requireDomain(context, account, params);
      await ledger.delete(keys.domain(hostname));
      await untilLive(context, await ledger.sequence());
      return { domain: hostname };
    },
  );

  defineR2(
    app,
    context,
    { method: 'get', path: MANAGED, summary: 'Shows the public host name that a bucket has, or would have' },
    async ({ account, params }) => managedShape(context, await requireBucket(context, account, params)),
  );
  defineR2(
    app,
    context,
    {
      method: 'put',
      path: MANAGED,
      summary: 'Makes a bucket public at a host name below the workers domain, or private again',
      body: z.object({ enabled: z.boolean() }),
    },
    async ({ account, params, body }) => {
      const bucket = await requireBucket(context, account, params);
      const hostname = managedHost(context, bucket);
      if (body.enabled) {
        const domain: CustomDomain = {
          id: newId(),
          hostname,
          zoneId: '',
          zoneName: context.settings.workersDomain,
          accountId: account.id,
          script: '',
          bucket: { name: bucket.name, id: bucket.id },
          managed: true,
          createdOn: new Date().toISOString(),
        };
        await ledger.put(keys.domain(hostname), domain);
      } else await ledger.delete(keys.domain(hostname));
      await untilLive(context, await ledger.sequence());
      return managedShape(context, bucket);
    },
  );
}

/** Of a bucket that is no more. */
export async function removeDomainsOf(context: CoreContext, account: Account, bucket: Bucket): Promise<void> {
  const domains = await domainsOf(context, account, bucket);
  for (const { hostname } of domains) await context.ledger.delete(keys.domain(hostname));
  if (domains.length > 0) await untilLive(context, await context.ledger.sequence());
}

async function domainsOf({ ledger }: CoreContext, account: Account, { id }: Bucket): Promise<CustomDomain[]> {
  const all = (await ledger.list<CustomDomain>(keys.domains)).map(({ value }) => value);
  return all.filter((each) => each.accountId === account.id && each.bucket?.id === id);
}

async function requireDomain(
  context: CoreContext,
  account: Account,
  params: Record<string, string>,
): Promise<CustomDomain> {
  const bucket = await requireBucket(context, account, params);
  const hostname = normalizeHostname(params.domain!);
  const found = (await domainsOf(context, account, bucket)).find((each) => !each.managed && each.hostname === hostname);
  if (!found) throw new ApiError(10082, `The bucket has no custom domain ${params.domain!.slice(0, 253)}.`);
  return found;
}

function managedHost({ settings }: CoreContext, { id }: Bucket): string {
  return `pub-${id}.${settings.workersDomain}`;
}

async function managedShape(context: CoreContext, bucket: Bucket) {
  const domain = managedHost(context, bucket);
  return {
    bucketId: bucket.id,
    domain,
    enabled: (await context.ledger.get(keys.domain(domain))) !== null,
  };
}

function domainShape({ hostname, zoneId, zoneName }: CustomDomain) {
  return {
    domain: hostname,
    enabled: true,
    // There is no DNS to wait for, and certificates are made when they are asked for.
    status: { ownership: 'active', ssl: 'active' },
    minTLS: '1.0',
    zoneId,
    zoneName,
  };
}
