/**
 * The configuration of an isolate process: a Version becomes workerd's text configuration, which `workerd compile` turns into the
 * bytes that a zygote reads. Schema: workerd.capnp in the workerd package. All names and values in it are a stranger's.
 *
 * Socket addresses are relative to the process's working directory (`directory.ts`).
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Binding, ModuleRef, ModuleType, Version } from '../../model/documents.ts';
import type { Attach } from '../../model/messages.ts';
import { isProductBinding } from '../../model/product-bindings.ts';
import { databaseService } from '../../products/d1/process.ts';
import {
  hasObjects,
  OBJECTS_SERVICE,
  objectBindingText,
  objectOptions,
} from '../../products/durable-objects/binding.ts';
import { doorParts, remoteBindingText, remoteParts } from '../../products/durable-objects/other-worker.ts';
import type { Blobs } from '../../state/blobs.ts';
import type { Vault } from '../../state/vault.ts';
import { list, literal, struct } from './capnp.ts';
import { OWN } from './directory.ts';
import { productBindingText, productParts, systemWorker } from './products.ts';
import { workerdPath } from './workerd.ts';

/** Header in which `request.cf` crosses a socket, and the one of the URL's scheme. The edge removes what clients send under them. */
export const CF_HEADER = 'selvedge-cf';
export const PROTO_HEADER = 'selvedge-proto';
const RPC_HOST = 'selvedge-rpc';
/** For `trace.js`; the flag allows the module alone, without the rest of Node's. */
const ASYNC_CONTEXT = 'nodejs_als';
/** Raised when the form of the configuration changes, so that cached ones are made anew. */
export const CONFIG_FORMAT = 8;
const COMPILE_TIMEOUT_MS = 30_000;
const MAX_COMPILED_BYTES = 256 * 1024 * 1024;

/** The Worker cannot be started as it is; `message` is for its author. */
export class StartError extends Error {
  override name = 'StartError';
}

/** How a version is to run. */
export interface Variant {
  tailed: boolean;
  /** Requests carry their trace on to the Worker's subrequests. */
  traced?: boolean;
  entrypoints: string[];
  /** Adds a second Worker from the same modules that tells what they export, on socket `i.sock`. */
  inspect: boolean;
  /** For a process without experimental features (`Zygotes.strict`). */
  strict: boolean;
}

type ServiceBinding = Extract<Binding, { type: 'service' }>;

/** Service bindings in the order of their sockets `svc-<index>.sock`. */
export function serviceLinks(version: Version): Attach['services'] {
  return serviceBindings(version).map(({ service, entrypoint }, index) => ({
    socket: `svc-${index}.sock`,
    script: service,
    entrypoint: entrypoint ?? 'default',
  }));
}

/** Entrypoint -> socket file among the process's own, "default" first. */
export function rpcSockets(entrypoints: string[]): Record<string, string> {
  const names = ['default', ...entrypoints.filter((name) => name !== 'default')];
  return Object.fromEntries(names.map((name, index) => [name, `r-${index}.sock`]));
}

/** Events that do not come over HTTP need the system Worker; others are spared its start-up time and memory. */
export function hasSystemWorker(version: Version): boolean {
  return takesEvent(version, 'scheduled') || takesEvent(version, 'queue');
}

/** Has the Worker a handler of these events? */
export function takesEvent(version: Version, event: 'scheduled' | 'queue'): boolean {
  // Of scripts in the service-worker format the handlers are only guessed.
  return version.format === 'service-worker' || version.handlers.includes(event);
}

/** Names a compiled configuration: all that goes into it. */
export function configName(version: Version, variant: Variant): string {
  // Selvedge's own are all the same but for their storage.
  const what = version.system ? [version.system, version.etag] : version.id;
  const facts = JSON.stringify([CONFIG_FORMAT, what, version.limits, version.handlers, variant, workerdPath()]);
  return createHash('sha256').update(facts).digest('hex');
}

/**
 * Compiles the configuration. `workDir` holds the version's secrets in plain text meanwhile: it must be private, and emptied after a
 * crash. Throws StartError for what the version's author can mend.
 */
export async function compileConfig(
  version: Version,
  variant: Variant,
  blobs: Blobs,
  vault: Vault,
  workDir: string,
): Promise<Buffer> {
  const directory = await mkdtemp(join(workDir, 'compile-'));
  try {
    for (const [index, module] of version.modules.entries()) {
      const bytes = await blobs.get(module.hash);
      if (!bytes) throw new Error(`the code of version ${version.id} is missing: blob ${module.hash}`);
      await writeFile(join(directory, moduleFile(index)), bytes, { mode: 0o600 });
    }
    await writeFile(join(directory, 'config.capnp'), await configText(version, variant, vault), { mode: 0o600 });
    return await compile(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function compile(directory: string): Promise<Buffer> {
  const args = ['compile', '--config-only', 'config.capnp'];
  const options = {
    cwd: directory,
    encoding: 'buffer' as const,
    maxBuffer: MAX_COMPILED_BYTES,
    timeout: COMPILE_TIMEOUT_MS,
    env: {},
  };
  return new Promise((resolve, reject) => {
    execFile(workerdPath(), args, options, (error, stdout, stderr) => {
      if (!error) return resolve(stdout);
      // Without the values of the configuration: they hold secrets.
      const where =
        stderr
          .toString()
          .split('\n')[0]
          ?.replace(/^.*?config\.capnp:/, 'line ') ?? '';
      reject(new StartError(`the configuration does not compile (${where.slice(0, 200)})`));
    });
  });
}

async function configText(version: Version, variant: Variant, vault: Vault): Promise<string> {
  if (version.system) return systemText(version);
  const services = [
    external('internet', 'egress.sock', { style: 'proxy', cfBlobHeader: literal(CF_HEADER) }),
    external('cache', 'cache.sock', { style: 'proxy' }),
    ...serviceLinks(version).map(({ socket }, index) => external(`svc-${index}`, socket, rpcOptions())),
    ...(version.assets ? [external('assets', 'assets.sock', { cfBlobHeader: literal(CF_HEADER) })] : []),
    worker('user', {
      ...(isTraced(version, variant) ? await tracedModules(version) : userModules(version)),
      ...userOptions(version, variant, vault),
      tails: variant.tailed ? list([literal('tail')]) : undefined,
    }),
  ];
  if (hasObjects(version) && !variant.strict) services.push(OBJECTS_SERVICE);
  services.push(...(await remoteParts(version, rpcOptions(), systemWorker)));
  const products = await productParts(version.bindings, variant.strict);
  services.push(...products.services);
  const sockets = [
    socket('main', 'm.sock', 'user', { cfBlobHeader: literal(CF_HEADER), forwardedProtoHeader: literal(PROTO_HEADER) }),
    ...Object.entries(rpcSockets(variant.entrypoints)).map(([name, file]) =>
      socket(`rpc-${file}`, file, name === 'default' ? 'user' : { name: 'user', entrypoint: name }, rpcOptions()),
    ),
  ];
  sockets.push(...products.sockets);
  if (!variant.strict) {
    const door = await doorParts(version, OWN, 'user', rpcOptions(), systemWorker);
    services.push(...door.services);
    sockets.push(...door.sockets);
  }
  if (variant.tailed) {
    services.push(external('tail-sink', 'tail.sock', {}));
    services.push(
      worker('tail', {
        modules: list([esModule('tail.js', await systemWorker('tail.js'))]),
        compatibilityDate: literal('2026-11-01'),
        bindings: list([struct({ name: literal('SINK'), service: literal('tail-sink') })]),
      }),
    );
  }
  // A strict process knows no experimental features, which the system Worker needs.
  if (!variant.strict && hasSystemWorker(version)) {
    services.push(
      worker('system', {
        modules: list([esModule('isolate.js', await systemWorker('isolate.js'))]),
        compatibilityDate: literal('2026-11-01'),
        compatibilityFlags: list([literal('service_binding_extra_handlers')]),
        bindings: list([struct({ name: literal('USER'), service: literal('user') })]),
      }),
    );
    sockets.push(socket('system', 'p.sock', 'system', {}));
  }
  if (variant.inspect) {
    services.push(worker('inspect', { ...(await inspectModules(version)), ...userOptions(version, variant, vault) }));
    sockets.push(socket('inspect', 'i.sock', 'inspect', {}));
  }
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  v8Flags = ${list(v8Flags(version).map(literal))},
  logging = (structuredLogging = true),
  extensions = ${list(products.extensions)},
  services = [
    ${services.join(',\n    ')}
  ],
  sockets = [
    ${sockets.join(',\n    ')}
  ]
);
`;
}

/** A process of Selvedge's own: its Worker, the disk, and no way out. */
async function systemText(version: Version): Promise<string> {
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  v8Flags = ${list(v8Flags(version).map(literal))},
  logging = (structuredLogging = true),
  services = [
    ${external('internet', 'none.sock', {})},
    ${OBJECTS_SERVICE},
    ${await databaseService(objectOptions(version, false), systemWorker)}
  ],
  sockets = [
    ${socket('main', 'm.sock', 'user', {})},
    ${socket('rpc', 'r-0.sock', 'user', {})}
  ]
);
`;
}

/** Three quarters of the memory limit for old objects, the rest for young ones, buffers and the runtime itself. */
function v8Flags(version: Version): string[] {
  const { memoryMb } = version.limits;
  return [
    `--max-old-space-size=${Math.max(16, Math.floor(memoryMb * 0.75))}`,
    '--max-semi-space-size=8',
    '--optimize-for-size',
  ];
}

function external(name: string, file: string, http: Record<string, string>): string {
  return struct({ name: literal(name), external: struct({ address: literal(`unix:${file}`), http: struct(http) }) });
}

function worker(name: string, fields: Record<string, string | undefined>): string {
  return struct({ name: literal(name), worker: struct(fields) });
}

function socket(
  name: string,
  file: string,
  service: string | { name: string; entrypoint: string },
  http: Record<string, string>,
): string {
  const designator =
    typeof service === 'string'
      ? literal(service)
      : struct({ name: literal(service.name), entrypoint: literal(service.entrypoint) });
  const address = literal(`unix:${OWN}/${file}`);
  return struct({ name: literal(name), address, http: struct(http), service: designator });
}

function rpcOptions(): Record<string, string> {
  return {
    capnpConnectHost: literal(RPC_HOST),
    cfBlobHeader: literal(CF_HEADER),
    forwardedProtoHeader: literal(PROTO_HEADER),
  };
}

function userOptions(version: Version, variant: Variant, vault: Vault): Record<string, string | undefined> {
  const flags = isTraced(version, variant) ? [ASYNC_CONTEXT] : [];
  return {
    compatibilityDate: literal(version.compatibilityDate),
    compatibilityFlags: list([...version.compatibilityFlags, ...flags].map(literal)),
    globalOutbound: literal('internet'),
    cacheApiOutbound: literal('cache'),
    ...objectOptions(version, variant.strict),
    bindings: list(bindings(version, variant, vault)),
  };
}

function userModules(version: Version): Record<string, string> {
  if (version.format === 'service-worker') {
    const index = version.modules.findIndex((module) => module.name === version.mainModule);
    return { serviceWorkerScript: `embed ${literal(moduleFile(index))}` };
  }
  return { modules: list(orderedModules(version)) };
}

/** workerd runs the first module. */
function orderedModules(version: Version): string[] {
  const named = version.modules.map((module, index) => ({ module, index }));
  const main = named.filter(({ module }) => module.name === version.mainModule);
  const others = named.filter(({ module }) => module.name !== version.mainModule);
  return [...main, ...others].map(({ module, index }) => moduleText(module, index));
}

const FIELDS: Record<ModuleType, string | null> = {
  esm: 'esModule',
  commonjs: 'commonJsModule',
  wasm: 'wasm',
  data: 'data',
  text: 'text',
  json: 'json',
  python: null,
  'python-requirement': null,
};

function moduleText(module: ModuleRef, index: number): string {
  const field = FIELDS[module.type];
  if (!field) throw new StartError(`module ${module.name}: Python Workers are not supported`);
  return struct({ name: literal(module.name), [field]: `embed ${literal(moduleFile(index))}` });
}

function moduleFile(index: number): string {
  return `m${index}`;
}

function esModule(name: string, source: string): string {
  return struct({ name: literal(name), esModule: literal(source) });
}

/**
 * Whether the Worker's trace can be carried on: scripts in the service-worker format have no module before which ours could stand, and
 * who has turned AsyncLocalStorage off is left alone.
 */
function isTraced(version: Version, variant: Variant): boolean {
  return (
    variant.traced === true && version.format === 'modules' && !version.compatibilityFlags.includes('no_nodejs_als')
  );
}

/** The user's modules behind `trace.js`. */
async function tracedModules(version: Version): Promise<Record<string, string>> {
  const main = JSON.stringify(mainPath(version));
  const names = version.entrypoints.map(({ name }) => `traced(user[${JSON.stringify(name)}]);`).join('\n');
  const name = `selvedge-trace-${version.id}.js`;
  const source = `import { traced } from './${name}';
import * as user from ${main};
export * from ${main};
${names}
export default traced(user.default) ?? {};
`;
  return {
    modules: list([
      esModule(`selvedge-traced-${version.id}.js`, source),
      esModule(name, await systemWorker('trace.js')),
      ...orderedModules(version),
    ]),
  };
}

/** For an import from a module of ours beside theirs. */
function mainPath(version: Version): string {
  return `./${version.mainModule.replace(/^(\.?\/)+/, '')}`;
}

/** The user's modules behind a main module of ours that imports theirs. */
async function inspectModules(version: Version): Promise<Record<string, string>> {
  // A JSON string is a JavaScript literal; and a function, because a name may hold what `replace` takes for a pattern.
  const source = (await systemWorker('inspect.js')).replace("'USER_MODULE'", () => JSON.stringify(mainPath(version)));
  return { modules: list([esModule(`selvedge-inspect-${version.id}.js`, source), ...orderedModules(version)]) };
}

function serviceBindings(version: Version): ServiceBinding[] {
  return version.bindings.filter((binding): binding is ServiceBinding => binding.type === 'service');
}

function bindings(version: Version, variant: Variant, vault: Vault): string[] {
  const services = serviceBindings(version);
  const embed = (part: string) => {
    const index = version.modules.findIndex((module) => module.name === part);
    if (index < 0) throw new StartError(`there is no part ${JSON.stringify(part)} in the upload`);
    return `embed ${literal(moduleFile(index))}`;
  };
  return version.bindings.map((binding) => {
    if (isProductBinding(binding)) return productBindingText(binding, variant.strict);
    const name = literal(binding.name);
    switch (binding.type) {
      case 'plain_text':
        return struct({ name, text: literal(binding.text) });
      case 'secret_text':
        return struct({ name, text: literal(vault.unseal(binding.sealed)) });
      case 'json':
        return struct({ name, json: literal(JSON.stringify(binding.json)) });
      case 'durable_object_namespace':
        return binding.other
          ? remoteBindingText(binding.name, binding.other.namespaceId)
          : objectBindingText(binding.name, binding.className);
      case 'version_metadata':
        return struct({ name, json: literal(JSON.stringify(versionMetadata(version))) });
      case 'assets':
        if (!version.assets) throw new StartError(`binding ${binding.name}: the version has no assets`);
        return struct({ name, service: literal('assets') });
      case 'service':
        if (binding.props !== undefined) {
          throw new StartError(`binding ${binding.name}: props cannot cross to another Worker's process yet`);
        }
        return struct({ name, service: literal(`svc-${services.indexOf(binding)}`) });
      case 'wasm_module':
        return struct({ name, wasmModule: embed(binding.part) });
      case 'text_blob':
        return struct({ name, text: embed(binding.part) });
      case 'data_blob':
        return struct({ name, data: embed(binding.part) });
      default:
        throw new StartError(`binding of unknown type ${(binding as Binding).type}`);
    }
  });
}

/** https://developers.cloudflare.com/workers/runtime-apis/bindings/version-metadata/ */
function versionMetadata(version: Version) {
  return { id: version.id, tag: version.annotations['workers/tag'] ?? '', timestamp: version.createdOn };
}
