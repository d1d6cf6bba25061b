/**
 * Bindings of an upload become those of a version: values checked, secrets sealed, `inherit` and kept secrets taken from the version before,
 * service bindings checked against what is deployed.
 */
import type { Account, Binding, Version } from '../../model/documents.ts';
import { LIMITS } from '../../model/limits.ts';
import { isProductBinding } from '../../model/product-bindings.ts';
import { ABSENT_PRODUCTS, BINDING_TYPES } from '../../products/index.ts';
import type { CoreContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import { findScript, latestVersion } from '../store.ts';
import type { Metadata } from './metadata.ts';
import { productBinding, shownProductBinding } from './product-bindings.ts';

type Raw = Metadata['bindings'][number];

/** Resolves all bindings. `before`: the version whose bindings can be inherited. */
export async function resolveBindings(
  context: CoreContext,
  account: Account,
  scriptName: string,
  metadata: Metadata,
  before: Version | null,
): Promise<Binding[]> {
  const bindings: Binding[] = [];
  for (const raw of metadata.bindings) bindings.push(await resolve(context, account, scriptName, raw, before));
  const names = new Set(bindings.map(({ name }) => name));
  if (names.size < bindings.length) {
    const twice = bindings.find(({ name }, index) => bindings.findIndex((other) => other.name === name) !== index)!;
    throw new ApiError(10053, `The binding name ${twice.name} is used twice.`);
  }
  const kept = new Set(metadata.keep_bindings);
  for (const binding of before?.bindings ?? [])
    if (kept.has(binding.type) && !names.has(binding.name)) bindings.push(binding);
  checkCounts(bindings);
  return bindings;
}

/** A secret's or variable's text within its limit. Throws ApiError 10054. */
export function checkVariable(name: string, text: string): void {
  if (Buffer.byteLength(text) > LIMITS.variableBytes) {
    throw new ApiError(
      10054,
      `${name} is larger than ${LIMITS.variableBytes / 1024} KB, the most that a variable or secret may have.`,
    );
  }
}

/** 128 variables and secrets together. Throws ApiError 10055. */
export function checkCounts(bindings: readonly Binding[]): void {
  if (bindings.length > LIMITS.bindingsPerVersion)
    throw new ApiError(10055, `A Worker has at most ${LIMITS.bindingsPerVersion} bindings.`);
  const variables = bindings.filter(({ type }) => ['plain_text', 'json', 'secret_text'].includes(type));
  if (variables.length > LIMITS.variablesPerVersion) {
    throw new ApiError(
      10055,
      `A Worker has at most ${LIMITS.variablesPerVersion} variables and secrets; these are ${variables.length}.`,
    );
  }
}

/** A binding as the API shows it: secrets have a name, never a value. */
export function shownBinding(binding: Binding): Record<string, unknown> {
  if (binding.type === 'secret_text') return { name: binding.name, type: binding.type };
  if (isProductBinding(binding)) return { name: binding.name, ...shownProductBinding(binding) };
  if (binding.type === 'durable_object_namespace') {
    const { name, type, className, other } = binding;
    return {
      name,
      type,
      class_name: className,
      ...(other && { script_name: other.script, namespace_id: other.namespaceId }),
    };
  }
  return { ...binding };
}

async function resolve(
  context: CoreContext,
  account: Account,
  scriptName: string,
  raw: Raw,
  before: Version | null,
): Promise<Binding> {
  const { name, type } = raw;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  if (/[\u0000-\u001f\u007f]/.test(name))
    throw new ApiError(10053, `${JSON.stringify(name)} is not a valid name for a binding.`);
  const product = ABSENT_PRODUCTS[type];
  if (product) {
    throw new ApiError(
      10052,
      `The binding ${name} is of type ${type}, but this Selvedge has no ${product} yet. Remove the binding to deploy.`,
    );
  }
  if (!(BINDING_TYPES as readonly string[]).includes(type))
    throw new ApiError(10052, `The binding ${name} is of the unknown type ${JSON.stringify(type)}.`);
  switch (type) {
    case 'plain_text':
      return { name, type, text: textOf(raw) };
    case 'secret_text':
      return { name, type, sealed: context.vault.seal(textOf(raw)) };
    case 'json': {
      if (raw.json === undefined) throw new ApiError(10006, `The binding ${name} has no "json".`);
      checkVariable(name, JSON.stringify(raw.json));
      return { name, type, json: raw.json };
    }
    case 'inherit': {
      const old = before?.bindings.find(
        (binding) => binding.name === (typeof raw.old_name === 'string' ? raw.old_name : name),
      );
      if (!old)
        throw new ApiError(
          10057,
          `The binding ${name} is to be inherited, but the version before has none of this name.`,
        );
      return { ...old, name };
    }
    case 'service':
      return service(context, account, scriptName, raw);
    case 'kv_namespace':
    case 'queue':
    case 'r2_bucket':
    case 'analytics_engine':
    case 'd1':
      return productBinding(context, account, raw);
    case 'durable_object_namespace':
      return objectNamespace(context, account, scriptName, raw);
    case 'wasm_module':
    case 'text_blob':
    case 'data_blob':
      if (typeof raw.part !== 'string') throw new ApiError(10006, `The binding ${name} has no "part".`);
      return { name, type, part: raw.part };
    default:
      return { name, type: type as 'assets' | 'version_metadata' };
  }
}

async function objectNamespace(context: CoreContext, account: Account, scriptName: string, raw: Raw): Promise<Binding> {
  const { name, class_name: className, script_name: script } = raw;
  if (typeof className !== 'string') throw new ApiError(10006, `The binding ${name} has no "class_name".`);
  if (script === undefined || script === null || script === scriptName) {
    return { name, type: 'durable_object_namespace', className };
  }
  if (typeof script !== 'string') throw new ApiError(10006, `The "script_name" of the binding ${name} is no name.`);
  const owner = await findScript(context, account.id, script);
  const namespace = owner?.objects?.namespaces.find((each) => each.className === className);
  if (!owner || !namespace) {
    throw new ApiError(
      10061,
      owner
        ? `Cannot create binding for class '${className}' of script '${script}' because it is not currently configured to implement Durable Objects.`
        : `Cannot create binding for class '${className}' because script '${script}' was not found.`,
    );
  }
  return { name, type: 'durable_object_namespace', className, other: { script, namespaceId: namespace.id } };
}

function textOf(raw: Raw): string {
  if (typeof raw.text !== 'string') throw new ApiError(10006, `The binding ${raw.name} has no "text".`);
  checkVariable(raw.name, raw.text);
  return raw.text;
}

async function service(context: CoreContext, account: Account, scriptName: string, raw: Raw): Promise<Binding> {
  const { name, service: target, entrypoint, props } = raw;
  if (typeof target !== 'string') throw new ApiError(10006, `The binding ${name} has no "service".`);
  if (props !== undefined && Object.keys(props as object).length > 0) {
    throw new ApiError(
      10058,
      `The service binding ${name} has props: they cannot cross to another Worker's process here yet.`,
    );
  }
  if (entrypoint !== undefined && typeof entrypoint !== 'string')
    throw new ApiError(10006, `The entrypoint of ${name} is no name.`);
  if (target !== scriptName) {
    const script = await findScript(context, account.id, target);
    const version = script && (await latestVersion(context, script));
    if (!script || !version) {
      throw new ApiError(10143, `Could not resolve service binding '${name}'. Target Worker '${target}' not found.`);
    }
    if (entrypoint && entrypoint !== 'default' && !version.entrypoints.some((known) => known.name === entrypoint)) {
      throw new ApiError(
        10144,
        `Cannot find entrypoint '${entrypoint}' of service '${target}' for binding '${name}'. It exports: ${version.entrypoints.map((known) => known.name).join(', ') || 'no named entrypoint'}.`,
      );
    }
  }
  return { name, type: 'service', service: target, ...(entrypoint ? { entrypoint } : {}) };
}
