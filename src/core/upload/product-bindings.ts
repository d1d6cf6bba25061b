/** Bindings to products in an upload: what they name must be there, and of the account. */
import type { Account, Binding, ProductBinding } from '../../model/documents.ts';
import { isDatasetName } from '../../products/analytics-engine/limits.ts';
import { Databases } from '../../products/d1/databases.ts';
import { deliveryDelayOf } from '../../products/queues/settings.ts';
import type { CoreContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import type { Metadata } from './metadata.ts';

type Raw = Metadata['bindings'][number];

/** Throws ApiError for what the account does not have. `raw.type` is one of a product. */
export async function productBinding(context: CoreContext, account: Account, raw: Raw): Promise<Binding> {
  switch (raw.type as ProductBinding['type']) {
    case 'kv_namespace':
      return kvNamespace(context, account, raw);
    case 'queue':
      return queue(context, account, raw);
    case 'r2_bucket':
      return r2Bucket(context, account, raw);
    case 'analytics_engine':
      return analyticsDataset(raw);
    case 'd1':
      return d1Database(context, account, raw);
  }
}

/** A binding as the API shows it, without its name. */
export function shownProductBinding(binding: ProductBinding): Record<string, unknown> {
  switch (binding.type) {
    case 'kv_namespace':
      return { type: binding.type, namespace_id: binding.namespaceId };
    case 'queue': {
      const { type, queueName, deliveryDelay } = binding;
      return { type, queue_name: queueName, ...(deliveryDelay !== undefined && { delivery_delay: deliveryDelay }) };
    }
    case 'r2_bucket': {
      const { type, bucket: bucket_name, jurisdiction } = binding;
      return { type, bucket_name, ...(jurisdiction && { jurisdiction }) };
    }
    case 'analytics_engine':
      return { type: binding.type, dataset: binding.dataset };
    case 'd1':
      // Both names are in use among clients.
      return { type: binding.type, id: binding.databaseId, database_id: binding.databaseId };
  }
}

async function kvNamespace({ kv }: CoreContext, account: Account, { name, namespace_id: id }: Raw): Promise<Binding> {
  if (typeof id !== 'string') throw new ApiError(10006, `The binding ${name} has no "namespace_id".`);
  if (!(await kv.namespaces.find(account.id, id))) {
    throw new ApiError(10041, `KV namespace '${id.slice(0, 64)}' is not valid: there is none of this id.`);
  }
  return { name, type: 'kv_namespace', namespaceId: id };
}

async function queue({ queues }: CoreContext, account: Account, raw: Raw): Promise<Binding> {
  const { name, queue_name: queueName, delivery_delay: delay } = raw;
  if (typeof queueName !== 'string') throw new ApiError(10006, `The binding ${name} has no "queue_name".`);
  const found = queues.messages.byName(account.id, queueName);
  if (!found)
    throw new ApiError(11000, `Queue "${queueName.slice(0, 64)}" does not exist: the binding ${name} needs it.`);
  const wanted = delay === undefined || delay === null ? {} : { deliveryDelay: deliveryDelayOf(delay) };
  return { name, type: 'queue', queueId: found.id, queueName: found.name, ...wanted };
}

async function r2Bucket({ r2 }: CoreContext, account: Account, raw: Raw): Promise<Binding> {
  const { name, bucket_name: bucket, jurisdiction } = raw;
  if (typeof bucket !== 'string') throw new ApiError(10006, `The binding ${name} has no "bucket_name".`);
  if (!(await r2.buckets.find(account.id, bucket))) {
    throw new ApiError(
      10085,
      `R2 bucket '${bucket.slice(0, 64)}' not found. Please use a different name and try again.`,
    );
  }
  return { name, type: 'r2_bucket', bucket, ...(typeof jurisdiction === 'string' && { jurisdiction }) };
}

/** A dataset comes into being when it is first written to. */
function analyticsDataset({ name, dataset = name }: Raw): Binding {
  if (typeof dataset !== 'string' || !isDatasetName(dataset)) {
    throw new ApiError(
      10006,
      `The binding ${name} has no valid "dataset": letters, digits, "_" and "-", 64 at most, a letter or "_" first.`,
    );
  }
  return { name, type: 'analytics_engine', dataset };
}

async function d1Database({ ledger }: CoreContext, account: Account, raw: Raw): Promise<Binding> {
  const { name } = raw;
  const id = raw.id ?? raw.database_id;
  if (typeof id !== 'string' || !(await new Databases(ledger).get(account.id, id))) {
    throw new ApiError(
      10021,
      `binding ${name} of type d1 must have a valid \`id\` specified: there is no such database.`,
    );
  }
  return { name, type: 'd1', databaseId: id };
}
