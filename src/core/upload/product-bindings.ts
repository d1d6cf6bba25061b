/** Bindings to products in an upload: what they name must be there, and of the account. */
import type { Account, Binding, ProductBinding } from '../../model/documents.ts';
import type { CoreContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import type { Metadata } from './metadata.ts';

type Raw = Metadata['bindings'][number];

/** Throws ApiError for what the account does not have. `raw.type` is one of a product. */
export async function productBinding(context: CoreContext, account: Account, raw: Raw): Promise<Binding> {
  switch (raw.type as ProductBinding['type']) {
    case 'kv_namespace':
      return kvNamespace(context, account, raw);
  }
}

/** A binding as the API shows it, without its name. */
export function shownProductBinding(binding: ProductBinding): Record<string, unknown> {
  switch (binding.type) {
    case 'kv_namespace':
      return { type: binding.type, namespace_id: binding.namespaceId };
  }
}

async function kvNamespace({ kv }: CoreContext, account: Account, { name, namespace_id: id }: Raw): Promise<Binding> {
  if (typeof id !== 'string') throw new ApiError(10006, `The binding ${name} has no "namespace_id".`);
  if (!(await kv.namespaces.find(account.id, id))) {
    throw new ApiError(10041, `KV namespace '${id.slice(0, 64)}' is not valid: there is none of this id.`);
  }
  return { name, type: 'kv_namespace', namespaceId: id };
}
