/** Which bindings are to products: behind them the data process answers. */
import type { Binding, ProductBinding } from './documents.ts';

const TYPES: readonly string[] = [
  'kv_namespace',
  'queue',
  'd1',
  'r2_bucket',
  'analytics_engine',
] satisfies ProductBinding['type'][];

export function isProductBinding(binding: Binding): binding is Binding & ProductBinding {
  return TYPES.includes(binding.type);
}
