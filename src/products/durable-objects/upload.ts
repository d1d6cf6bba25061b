/** Durable Objects in an upload: its migrations are applied to what the Worker has, and its classes and bindings are checked. */
import { randomBytes } from 'node:crypto';
import { describeIssue } from '../../core/app.ts';
import { ApiError } from '../../core/errors.ts';
import type { Script, Version, WorkerObjects } from '../../model/documents.ts';
import { MigrationError, Migrations, migrate } from './migrations.ts';

/** What an upload makes of a Worker's objects. */
export interface ObjectChange {
  objects: WorkerObjects | undefined;
  migrationTag: string | null;
  /** Namespaces whose objects go when the version is live. */
  deleted: string[];
}

const CODES = { precondition: 10079, conflict: 10074, unsupported: 10058 } as const;

/** Throws ApiError for migrations that are none, or do not fit. */
export function objectsOf(script: Script | null, metadata: unknown): ObjectChange {
  const before = script?.objects;
  const tag = script?.migrationTag ?? null;
  if (metadata === undefined || metadata === null) return { objects: before, migrationTag: tag, deleted: [] };
  const parsed = Migrations.safeParse(metadata);
  if (!parsed.success) throw new ApiError(10006, describeIssue(parsed.error, 'migrations'));
  try {
    const { namespaces, tag: newTag, deleted } = migrate(before?.namespaces ?? [], tag, parsed.data);
    const storage = before?.storage ?? randomBytes(16).toString('hex');
    return {
      objects: namespaces.length > 0 || before ? { storage, namespaces } : undefined,
      migrationTag: newTag,
      deleted: deleted.map(({ id }) => id),
    };
  } catch (error) {
    if (error instanceof MigrationError) throw new ApiError(CODES[error.kind], error.message);
    throw error;
  }
}

/** Before the script is tried: throws ApiError if a binding names a class that has no objects. */
export function checkObjectBindings({ objects, bindings, format }: Version): void {
  const namespaces = objects?.namespaces ?? [];
  if (namespaces.length > 0 && format === 'service-worker') {
    throw new ApiError(10021, 'Durable Objects need a script in the module format.');
  }
  for (const binding of bindings) {
    if (binding.type !== 'durable_object_namespace' || binding.other) continue;
    if (namespaces.some(({ className }) => className === binding.className)) continue;
    throw new ApiError(
      10061,
      `Cannot create binding for class '${binding.className}' because it is not currently configured to implement Durable Objects. Did you forget a migration with new_sqlite_classes?`,
    );
  }
}

/** After it: throws ApiError if the script lacks a class that has objects. */
export function checkExports({ objects, entrypoints }: Version): void {
  const exported = new Set(entrypoints.filter(({ kind }) => kind === 'durable-object').map(({ name }) => name));
  for (const { className } of objects?.namespaces ?? []) {
    if (exported.has(className)) continue;
    throw new ApiError(
      10070,
      `The script does not export class '${className}', which is depended on by existing Durable Objects. Export it, or rename or delete it by a migration.`,
    );
  }
}

/** Throws ApiError unless these versions may have the traffic of the Worker together. */
export function checkDeployable(script: Script, versions: readonly Version[]): void {
  if (versions.length > 1 && versions.some(({ objects }) => (objects?.namespaces.length ?? 0) > 0)) {
    throw new ApiError(
      10211,
      'A Worker with Durable Objects cannot be split over two versions here: its objects run in one process.',
    );
  }
  for (const { number, objects } of versions) {
    if (sameObjects(objects, script.objects)) continue;
    throw new ApiError(
      10211,
      `Version ${number} was made before a migration of its Durable Object classes, and cannot be deployed any more.`,
    );
  }
}

function sameObjects(a: WorkerObjects | undefined, b: WorkerObjects | undefined): boolean {
  const facts = (objects: WorkerObjects | undefined) =>
    (objects?.namespaces ?? []).map(({ id, className }) => `${id} ${className}`).sort();
  return JSON.stringify(facts(a)) === JSON.stringify(facts(b));
}
