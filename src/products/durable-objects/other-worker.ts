/**
 * Bindings to the Durable Objects of another Worker, which another process runs, and to which the runtime's own stubs do not reach. The
 * binding is a namespace of this process with the same unique key, so that ids are the same; its objects (`system-workers/remote-object.js`)
 * ask the other process through the data process's relay, where `system-workers/object-door.js` asks the real ones.
 */
import type { Binding, Version } from '../../model/documents.ts';
import type { Attach } from '../../model/messages.ts';
import { list, literal, struct } from '../../pop/isolates/capnp.ts';
import type { ConfigParts } from '../product.ts';

type RemoteBinding = Extract<Binding, { type: 'durable_object_namespace' }> & {
  other: { script: string; namespaceId: string };
};

const CLASS = 'RemoteObject';
const DOOR = 'object-door';
const DATE = '2026-11-01';

/** How processes speak with each other: options of a socket and of its other end. */
type Rpc = Record<string, string>;
type Source = (file: string) => Promise<string>;

/** Namespace ids of other Workers, and the Workers that have them. */
function remoteNamespaces(bindings: readonly Binding[]): Map<string, string> {
  const remote = bindings.filter(
    (binding): binding is RemoteBinding => binding.type === 'durable_object_namespace' && binding.other !== undefined,
  );
  return new Map(remote.map(({ other: { namespaceId, script } }) => [namespaceId, script]));
}

/** Sockets `obj-<index>.sock` to the Workers whose objects a version binds. */
export function objectLinks({ bindings }: Version): Attach['services'] {
  return [...remoteNamespaces(bindings)].map(([object, script], index) => ({
    socket: `obj-${index}.sock`,
    script,
    entrypoint: 'default',
    object,
  }));
}

/** What the process of a version that binds objects of others has. */
export async function remoteParts(
  version: Version,
  rpc: Rpc,
  source: Source,
): Promise<Required<ConfigParts>['services']> {
  const links = objectLinks(version);
  if (links.length === 0) return [];
  const module = struct({ name: literal('remote-object.js'), esModule: literal(await source('remote-object.js')) });
  return links.flatMap(({ socket, object }, index) => [
    struct({
      name: literal(`obj-${index}`),
      external: struct({ address: literal(`unix:${socket}`), http: struct(rpc) }),
    }),
    struct({
      name: literal(remoteService(object!)),
      worker: struct({
        modules: list([module]),
        compatibilityDate: literal(DATE),
        durableObjectNamespaces: list([struct({ className: literal(CLASS), uniqueKey: literal(object!) })]),
        durableObjectStorage: struct({ inMemory: 'void' }),
        bindings: list([struct({ name: literal('OWNER'), service: literal(`obj-${index}`) })]),
      }),
    }),
  ]);
}

export function remoteBindingText(name: string, namespaceId: string): string {
  const namespace = struct({ className: literal(CLASS), serviceName: literal(remoteService(namespaceId)) });
  return struct({ name: literal(name), durableObjectNamespace: namespace });
}

function remoteService(namespaceId: string): string {
  return `remote-${namespaceId}`;
}

/** Namespace id -> file, among the process's own, of the socket on which other Workers ask for its objects. */
export function doorSockets({ objects, system }: Version): Record<string, string> {
  // Those of Selvedge's own are no Worker's to ask for.
  if (system) return {};
  return Object.fromEntries((objects?.namespaces ?? []).map(({ id }, index) => [id, `o-${index}.sock`]));
}

/** What the process of a version with objects has for others. `own`: directory of its own sockets; `user`: the service with the classes. */
export async function doorParts(
  version: Version,
  own: string,
  user: string,
  rpc: Rpc,
  source: Source,
): Promise<Pick<Required<ConfigParts>, 'services' | 'sockets'>> {
  const namespaces = version.objects?.namespaces ?? [];
  if (namespaces.length === 0) return { services: [], sockets: [] };
  const bindings = namespaces.map(({ id, className }) =>
    struct({
      name: literal(id),
      durableObjectNamespace: struct({ className: literal(className), serviceName: literal(user) }),
    }),
  );
  const door = struct({
    modules: list([struct({ name: literal('object-door.js'), esModule: literal(await source('object-door.js')) })]),
    compatibilityDate: literal(DATE),
    bindings: list(bindings),
  });
  const sockets = Object.entries(doorSockets(version)).map(([id, file]) =>
    struct({
      name: literal(file),
      address: literal(`unix:${own}/${file}`),
      http: struct(rpc),
      service: struct({ name: literal(DOOR), props: struct({ json: literal(JSON.stringify({ namespace: id })) }) }),
    }),
  );
  return { services: [struct({ name: literal(DOOR), worker: door })], sockets };
}
