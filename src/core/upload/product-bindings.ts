/** Bindings to products in an upload: what they name must be there, and of the account. */
import type { Account, Binding, ProductBinding } from '../../model/documents.ts';
import { isDatasetName } from '../../products/analytics-engine/limits.ts';
import type { CoreContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import type { Metadata } from './metadata.ts';

type Raw = Metadata['bindings'][number];

/** Throws ApiError for what the account does not have. `raw.type` is one of a product. */
export async function productBinding(context: CoreContext, account: Account, raw: Raw): Promise<Binding> {
  switch (raw.type as ProductBinding['type']) {
    case 'kv_namespace':
      return kvNamespace(context, account, raw);
    case 'analytics_engine':
      return analyticsDataset(raw);
  }
}

/** A binding as the API shows it, without its name. */
export function shownProductBinding(binding: ProductBinding): Record<string, unknown> {
  switch (binding.type) {
    case 'kv_namespace':
      return { type: binding.type, namespace_id: binding.namespaceId };
    case 'analytics_engine':
      return { type: binding.type, dataset: binding.dataset };
  }
}

async function kvNamespace({ kv }: CoreContext, account: Account, { name, namespace_id: id }: Raw): Promise<Binding> {
  if (typeof id !== 'string') throw new ApiError(10006, `The binding ${name} has no "namespace_id".`);
  if (!(await kv.namespaces.find(account.id, id))) {
    throw new ApiError(10041, `KV namespace '${id.slice(0, 64)}' is not valid: there is none of this id.`);
  }
  return { name, type: 'kv_namespace', namespaceId: id };
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
