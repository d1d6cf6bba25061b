/** Products in the configuration of an isolate process: what each adds to it, its bindings, and the sockets on which the process listens. */
import { readFile } from 'node:fs/promises';
import type { Binding, ProductBinding } from '../../model/documents.ts';
import { analyticsBindingText, analyticsParts, boundDatasets } from '../../products/analytics-engine/binding.ts';
import { d1BindingText, d1Parts } from '../../products/d1/binding.ts';
import { KV_WRITTEN_SOCKET, kvBindingText, kvNamespaces, kvParts } from '../../products/kv/binding.ts';
import type { ConfigParts } from '../../products/product.ts';
import { boundQueues, queueBindingText, queueParts } from '../../products/queues/binding.ts';
import { boundBuckets, r2BindingText, r2Parts } from '../../products/r2/binding.ts';
import { OWN } from './directory.ts';

/** `strict`: for a process without experimental features, which is never asked anything. */
export async function productParts(bindings: readonly Binding[], strict: boolean): Promise<Required<ConfigParts>> {
  const parts: ConfigParts[] = [];
  const namespaces = kvNamespaces(bindings);
  if (namespaces.length > 0) parts.push(await kvParts(OWN, strict, namespaces, systemWorker));
  if (boundQueues(bindings).length > 0) parts.push(queueParts(bindings));
  parts.push(r2Parts(boundBuckets(bindings)));
  if (boundDatasets(bindings).length > 0) parts.push(await analyticsParts(systemWorker));
  parts.push(d1Parts(bindings));
  return {
    extensions: parts.flatMap(({ extensions = [] }) => extensions),
    services: parts.flatMap(({ services = [] }) => services),
    sockets: parts.flatMap(({ sockets = [] }) => sockets),
  };
}

export function productBindingText(binding: Binding & ProductBinding, strict: boolean): string {
  switch (binding.type) {
    case 'kv_namespace':
      return kvBindingText(binding, strict);
    case 'queue':
      return queueBindingText(binding);
    case 'r2_bucket':
      return r2BindingText(binding);
    case 'analytics_engine':
      return analyticsBindingText(binding);
    case 'd1':
      return d1BindingText(binding);
  }
}

/** Files in `OWN` on which a process with these bindings listens for its products. */
export function productSockets(bindings: readonly Binding[]): string[] {
  return kvNamespaces(bindings).length > 0 ? [KV_WRITTEN_SOCKET] : [];
}

/** The text of a system Worker. */
export function systemWorker(file: string): Promise<string> {
  return readFile(new URL(`../../system-workers/${file}`, import.meta.url), 'utf8');
}
