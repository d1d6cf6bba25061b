/**
 * KV in the configuration of an isolate process. A binding is a module of ours in the user's isolate (`system-workers/kv-binding.js`) that
 * answers hot keys from a memory of the process; behind it are the runtime's own KV binding, a system Worker (`kv.js`) that fills the
 * memory, and the data process's socket. The runtime's binding alone costs more than half of a Worker's throughput for each read.
 */
import type { Binding } from '../../model/documents.ts';
import { list, literal, struct } from '../../pop/isolates/capnp.ts';
import type { ConfigParts } from '../product.ts';

type KvBinding = Extract<Binding, { type: 'kv_namespace' }>;

const MODULE = 'selvedge:kv';
/** What a process keeps: a part of its memory limit. */
const MEMORY = struct({
  id: literal('kv'),
  limits: struct({ maxKeys: '10000', maxValueSize: '20000000', maxTotalValueSize: '20000000' }),
});

/** Ids of the namespaces among bindings. */
export function kvNamespaces(bindings: readonly Binding[]): string[] {
  const bound = bindings.filter((binding): binding is KvBinding => binding.type === 'kv_namespace');
  return [...new Set(bound.map(({ namespaceId }) => namespaceId))];
}

/** Socket among the process's own on which it hears of writes. */
export const KV_WRITTEN_SOCKET = 'k.sock';

/** The data process's socket as a service; all that a process without experimental features has, which is never asked anything. */
const KV_STORE_SERVICE = struct({
  name: literal('kv-store'),
  external: struct({ address: literal('unix:kv.sock'), http: struct({}) }),
});

/** For writes and lists: nothing is kept of them, so they need not pass the system Worker. */
function directService(namespace: string): string {
  const header = struct({ name: literal('selvedge-kv'), value: literal(namespace) });
  const http = struct({ injectRequestHeaders: list([header]) });
  return struct({ name: literal(`kv-${namespace}`), external: struct({ address: literal('unix:kv.sock'), http }) });
}

/** What a process that binds KV has. `own`: directory of the process's own sockets; `source` gives the text of a system Worker. */
export async function kvParts(
  own: string,
  strict: boolean,
  namespaces: string[],
  source: (file: string) => Promise<string>,
): Promise<ConfigParts> {
  // The system Worker of KV needs experimental features.
  if (strict) return { services: [KV_STORE_SERVICE] };
  const [worker, binding] = await Promise.all([source('kv.js'), source('kv-binding.js')]);
  const system = struct({
    modules: list([struct({ name: literal('kv.js'), esModule: literal(worker) })]),
    compatibilityDate: literal('2026-11-01'),
    compatibilityFlags: list([literal('memory_cache_delete')]),
    bindings: list([
      struct({ name: literal('STORE'), service: literal('kv-store') }),
      struct({ name: literal('CACHE'), memoryCache: MEMORY }),
    ]),
  });
  const module = struct({ name: literal(MODULE), internal: 'true', esModule: literal(binding) });
  const written = struct({
    name: literal('kv-written'),
    address: literal(`unix:${own}/${KV_WRITTEN_SOCKET}`),
    http: struct({}),
    service: struct({ name: literal('kv'), entrypoint: literal('Written') }),
  });
  return {
    extensions: [struct({ modules: list([module]) })],
    services: [KV_STORE_SERVICE, struct({ name: literal('kv'), worker: system }), ...namespaces.map(directService)],
    sockets: [written],
  };
}

/** The binding itself. `strict`: for a process without experimental features, which is never asked anything. */
export function kvBindingText({ name, namespaceId }: KvBinding & { name: string }, strict: boolean): string {
  if (strict) return struct({ name: literal(name), kvNamespace: literal('kv-store') });
  const designator = struct({
    name: literal('kv'),
    props: struct({ json: literal(JSON.stringify({ namespace: namespaceId })) }),
  });
  return struct({
    name: literal(name),
    wrapped: struct({
      moduleName: literal(MODULE),
      innerBindings: list([
        struct({ name: literal('native'), kvNamespace: designator }),
        struct({ name: literal('direct'), kvNamespace: literal(`kv-${namespaceId}`) }),
        struct({ name: literal('cache'), memoryCache: MEMORY }),
        struct({ name: literal('namespace'), text: literal(namespaceId) }),
      ]),
    }),
  });
}
