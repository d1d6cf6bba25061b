/** R2 in the configuration of an isolate process: the runtime's own binding on a socket of the data process, one service for each bucket. */
import type { Binding } from '../../model/documents.ts';
import { list, literal, struct } from '../../pop/isolates/capnp.ts';
import type { ConfigParts } from '../product.ts';

type BucketBinding = Extract<Binding, { type: 'r2_bucket' }>;

export const R2_SOCKET = 'r2.sock';
/** Header that says which bucket is meant; the runtime sets it over whatever the Worker says. */
export const BUCKET_HEADER = 'selvedge-r2';

/** Names of the buckets among bindings. */
export function boundBuckets(bindings: readonly Binding[]): string[] {
  const bound = bindings.filter((binding): binding is Binding & BucketBinding => binding.type === 'r2_bucket');
  return [...new Set(bound.map(({ bucket }) => bucket))];
}

export function r2Parts(buckets: string[]): ConfigParts {
  return {
    services: buckets.map((bucket) =>
      struct({
        name: literal(serviceOf(bucket)),
        external: struct({
          address: literal(`unix:${R2_SOCKET}`),
          http: struct({
            injectRequestHeaders: list([struct({ name: literal(BUCKET_HEADER), value: literal(bucket) })]),
          }),
        }),
      }),
    ),
  };
}

export function r2BindingText({ name, bucket }: BucketBinding & { name: string }): string {
  return struct({ name: literal(name), r2Bucket: literal(serviceOf(bucket)) });
}

function serviceOf(bucket: string): string {
  return `r2-${bucket}`;
}
