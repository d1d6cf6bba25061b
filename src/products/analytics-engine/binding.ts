/** Analytics Engine in the configuration of an isolate process: a module of ours in the user's isolate, and the data process's socket. */
import type { Binding } from '../../model/documents.ts';
import { list, literal, struct } from '../../pop/isolates/capnp.ts';
import type { ConfigParts } from '../product.ts';

type AnalyticsBinding = Extract<Binding, { type: 'analytics_engine' }>;

const MODULE = 'selvedge:analytics-engine';
const SERVICE = 'analytics-engine';
/** The data process's socket, in the process's directory. */
export const ANALYTICS_SOCKET = 'ae.sock';

/** Names of the datasets among bindings. */
export function boundDatasets(bindings: readonly Binding[]): string[] {
  const bound = bindings.filter((binding): binding is AnalyticsBinding => binding.type === 'analytics_engine');
  return [...new Set(bound.map(({ dataset }) => dataset))];
}

/** What a process that binds a dataset has. `source` gives the text of a system Worker. */
export async function analyticsParts(source: (file: string) => Promise<string>): Promise<ConfigParts> {
  const module = struct({
    name: literal(MODULE),
    internal: 'true',
    esModule: literal(await source('analytics-engine-binding.js')),
  });
  const address = literal(`unix:${ANALYTICS_SOCKET}`);
  return {
    extensions: [struct({ modules: list([module]) })],
    services: [struct({ name: literal(SERVICE), external: struct({ address, http: struct({}) }) })],
  };
}

export function analyticsBindingText({ name, dataset }: AnalyticsBinding): string {
  return struct({
    name: literal(name),
    wrapped: struct({
      moduleName: literal(MODULE),
      innerBindings: list([
        struct({ name: literal('sink'), service: literal(SERVICE) }),
        struct({ name: literal('dataset'), text: literal(dataset) }),
      ]),
    }),
  });
}
