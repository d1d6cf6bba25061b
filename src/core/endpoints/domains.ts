/** Custom domains: host names that belong wholly to one Worker. wrangler puts the whole list of a Worker. */
import { z } from '@hono/zod-openapi';
import type { Account, CustomDomain, Zone } from '../../model/documents.ts';
import { keys } from '../../model/keys.ts';
import { newId } from '../accounts.ts';
import { type App, define, pageOf, WholeList } from '../app.ts';
import type { CoreContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import { zoneFor } from '../route-pattern.ts';
import { serialized } from '../serialize.ts';
import { domainShape } from '../shapes.ts';
import { requireScript, untilLive } from '../store.ts';
import { normalizeHostname } from '../zones.ts';

const Origin = z
  .object({ hostname: z.string().min(1).max(253), zone_id: z.string().optional(), zone_name: z.string().optional() })
  .loose();
const Origins = z.array(Origin).max(100);

export function registerDomains(app: App, context: CoreContext): void {
  const { ledger } = context;
  const ofScript = '/accounts/{account_id}/workers/scripts/{script_name}/domains';
  const ofAccount = '/accounts/{account_id}/workers/domains';

  const Filter = WholeList.extend({
    hostname: z.string().optional(),
    service: z.string().optional(),
    zone_id: z.string().optional(),
    zone_name: z.string().optional(),
    environment: z.string().optional(),
  });
  for (const path of [ofAccount, `${ofAccount}/records`]) {
    define(
      app,
      context,
      { method: 'get', path, summary: 'Lists custom domains', query: Filter },
      async ({ account, query }) => {
        const domains = (await domainsOf(context, account)).filter(isWorkers).map(domainShape);
        const fits = (wanted: string | undefined, value: string) => wanted === undefined || wanted === value;
        const found = domains.filter(
          (domain) =>
            fits(query.hostname, domain.hostname) &&
            fits(query.service, domain.service) &&
            fits(query.zone_id, domain.zone_id) &&
            fits(query.zone_name, domain.zone_name),
        );
        return pageOf(found, query);
      },
    );
  }
  define(
    app,
    context,
    { method: 'get', path: `${ofAccount}/records/{domain_id}`, summary: 'One custom domain' },
    async ({ account, params }) => {
      const domain = (await domainsOf(context, account)).find(
        (each) => each.id === params.domain_id && isWorkers(each),
      );
      if (!domain) throw new ApiError(10082, `This account has no custom domain ${params.domain_id}.`);
      return domainShape(domain);
    },
  );

  define(
    app,
    context,
    {
      method: 'post',
      path: `${ofScript}/changeset`,
      summary: 'Tells what putting these custom domains would change',
      query: z.object({ replace_state: z.enum(['true', 'false']).default('false') }),
      body: Origins,
    },
    async ({ account, params, query, body }) => {
      const script = await requireScript(context, account, params.script_name!);
      const wanted = await resolve(context, account, body);
      const there = new Map((await domainsOf(context, account)).map((domain) => [domain.hostname, domain]));
      const shown = (hostname: string) => domainShape(there.get(hostname)!);
      const names = [...wanted.keys()];
      return {
        added: names.filter((name) => !there.has(name)).map((hostname) => ({ hostname })),
        // `modified`: it is another Worker's domain now. There is no DNS here that could be in conflict.
        updated: names
          .filter((name) => there.has(name))
          .map((name) => ({ ...shown(name), modified: there.get(name)!.script !== script.name })),
        conflicting: [],
        removed:
          query.replace_state === 'true'
            ? [...there.values()]
                .filter((each) => each.script === script.name && !wanted.has(each.hostname))
                .map(domainShape)
            : [],
      };
    },
  );

  const Records = z.object({
    override_scope: z.boolean().default(false),
    override_existing_origin: z.boolean().default(false),
    override_existing_dns_record: z.boolean().default(false),
    origins: Origins,
  });
  define(
    app,
    context,
    { method: 'put', path: `${ofScript}/records`, summary: 'Replaces the custom domains of a Worker', body: Records },
    async ({ account, params, body }) => {
      const script = await requireScript(context, account, params.script_name!);
      return serialized(`domains/${account.id}`, async () => {
        const wanted = await resolve(context, account, body.origins);
        const there = new Map((await domainsOf(context, account)).map((domain) => [domain.hostname, domain]));
        for (const hostname of wanted.keys()) {
          const owner = there.get(hostname)?.script;
          const bucket = there.get(hostname)?.bucket;
          if (bucket !== undefined)
            throw new ApiError(100116, `${hostname} is the custom domain of the bucket ${bucket.name}.`);
          if (owner !== undefined && owner !== script.name && !body.override_existing_origin) {
            throw new ApiError(100116, `${hostname} is already the custom domain of the Worker ${owner}.`);
          }
        }
        const written: CustomDomain[] = [];
        for (const [hostname, zone] of wanted) {
          const domain = there.get(hostname) ?? {
            id: newId(),
            hostname,
            zoneId: zone.id,
            zoneName: zone.name,
            accountId: account.id,
            createdOn: new Date().toISOString(),
          };
          const mine: CustomDomain = { ...domain, script: script.name };
          await ledger.put(keys.domain(hostname), mine);
          written.push(mine);
        }
        for (const domain of there.values()) {
          if (domain.script === script.name && !wanted.has(domain.hostname))
            await ledger.delete(keys.domain(domain.hostname));
        }
        await untilLive(context, await ledger.sequence());
        return written.map(domainShape);
      });
    },
  );
}

function isWorkers({ bucket }: CustomDomain): boolean {
  return bucket === undefined;
}

async function domainsOf({ ledger }: CoreContext, account: Account): Promise<CustomDomain[]> {
  const all = (await ledger.list<CustomDomain>(keys.domains)).map(({ value }) => value);
  return all.filter(({ accountId }) => accountId === account.id);
}

/** Host name (normalized) -> its zone. Throws ApiError 10082 for hosts outside the account's zones. */
async function resolve(
  context: CoreContext,
  account: Account,
  origins: z.output<typeof Origins>,
): Promise<Map<string, Zone>> {
  const zones = new Map<string, Zone>();
  for (const origin of origins) {
    const hostname = normalizeHostname(origin.hostname);
    if (!hostname)
      throw new ApiError(10082, `${JSON.stringify(origin.hostname)} cannot be a custom domain: it is no host name.`);
    zones.set(hostname, await zoneFor(context.ledger, account.id, hostname, origin));
  }
  return zones;
}
