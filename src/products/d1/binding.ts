/** D1 in the configuration of an isolate process: the runtime's own binding over a socket of the data process, one for each database. */
import type { Binding } from '../../model/documents.ts';
import { list, literal, struct } from '../../pop/isolates/capnp.ts';
import type { ConfigParts } from '../product.ts';

type D1Binding = Extract<Binding, { type: 'd1' }>;

/** Ids of the databases among bindings. */
export function d1Databases(bindings: readonly Binding[]): string[] {
  const bound = bindings.filter((binding): binding is D1Binding => binding.type === 'd1');
  return [...new Set(bound.map(({ databaseId }) => databaseId))];
}

/** File of the socket behind which a database answers. Short, because paths of sockets are; 16 digits of an id are enough within one Worker. */
export function d1Socket(databaseId: string): string {
  return `d1-${databaseId.replaceAll('-', '').slice(0, 16)}.sock`;
}

export function d1Parts(bindings: readonly Binding[]): ConfigParts {
  return {
    services: d1Databases(bindings).map((id) =>
      struct({
        name: literal(serviceOf(id)),
        external: struct({ address: literal(`unix:${d1Socket(id)}`), http: struct({}) }),
      }),
    ),
  };
}

export function d1BindingText({ name, databaseId }: D1Binding & { name: string }): string {
  return struct({
    name: literal(name),
    wrapped: struct({
      moduleName: literal('cloudflare-internal:d1-api'),
      innerBindings: list([struct({ name: literal('fetcher'), service: literal(serviceOf(databaseId)) })]),
    }),
  });
}

const serviceOf = (databaseId: string) => `d1-${databaseId}`;
