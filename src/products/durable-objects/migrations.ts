/**
 * Migrations of Durable Object classes: which namespaces a Worker has after an upload
 * (https://developers.cloudflare.com/durable-objects/reference/durable-objects-migrations/). Pure: nothing is stored or removed here.
 */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import type { ObjectNamespace, WorkerObjects } from '../../model/documents.ts';

const ClassName = z.string().min(1).max(256);

const Step = z.strictObject({
  new_classes: z.array(ClassName).max(100).optional(),
  new_sqlite_classes: z.array(ClassName).max(100).optional(),
  renamed_classes: z
    .array(z.strictObject({ from: ClassName, to: ClassName }))
    .max(100)
    .optional(),
  deleted_classes: z.array(ClassName).max(100).optional(),
  transferred_classes: z
    .array(z.strictObject({ from: ClassName, from_script: z.string().min(1).max(255), to: ClassName }))
    .max(100)
    .optional(),
});

/** The `migrations` of an upload's metadata: with `steps`, or one step by itself. */
export const Migrations = z.union([
  z.strictObject({
    old_tag: z.string().max(256).optional(),
    new_tag: z.string().max(256).optional(),
    steps: z.array(Step).max(100),
  }),
  Step.extend({ old_tag: z.string().max(256).optional(), new_tag: z.string().max(256).optional() }),
]);
export type Migrations = z.output<typeof Migrations>;

/** The migration does not fit what the Worker has; `message` is for its author. */
export class MigrationError extends Error {
  override name = 'MigrationError';
  readonly kind: 'precondition' | 'conflict';
  constructor(kind: MigrationError['kind'], message: string) {
    super(message);
    this.kind = kind;
  }
}

export interface Migrated {
  namespaces: ObjectNamespace[];
  tag: string | null;
  /** Of classes that were deleted: their objects go with the deployment. */
  deleted: ObjectNamespace[];
  /** Of other Workers: name -> ids of the namespaces that it has no longer. */
  taken: Map<string, Set<string>>;
}

/** Names of the Workers that migrations take classes from. */
export function transferSources(migrations: Migrations): string[] {
  const transfers = stepsOf(migrations).flatMap((step) => step.transferred_classes ?? []);
  return [...new Set(transfers.map(({ from_script: script }) => script))];
}

/** Applies migrations to what a Worker has. `sources`: what those have that it takes classes from, by name. Throws MigrationError. */
export function migrate(
  namespaces: readonly ObjectNamespace[],
  tag: string | null,
  migrations: Migrations | undefined,
  sources: ReadonlyMap<string, WorkerObjects> = new Map(),
): Migrated {
  const taken: Migrated['taken'] = new Map();
  if (!migrations) return { namespaces: [...namespaces], tag, deleted: [], taken };
  const { old_tag: oldTag, new_tag: newTag } = migrations;
  if (oldTag !== undefined && oldTag !== (tag ?? '')) {
    throw new MigrationError(
      'precondition',
      `Migration tag precondition failed; current tag is '${tag ?? ''}', the upload expects '${oldTag}'.`,
    );
  }
  const now = new Map(namespaces.map((namespace) => [namespace.className, namespace]));
  const deleted: ObjectNamespace[] = [];
  for (const step of stepsOf(migrations)) {
    for (const className of step.deleted_classes ?? []) {
      deleted.push(existing(now, className, 'delete-class'));
      now.delete(className);
    }
    for (const { from, to } of step.renamed_classes ?? []) {
      const namespace = existing(now, from, 'renamed-class');
      requireFree(now, to, 'renamed-class');
      now.delete(from);
      now.set(to, { ...namespace, className: to });
    }
    for (const { from, from_script: script, to } of step.transferred_classes ?? []) {
      const source = sources.get(script);
      const namespace = source?.namespaces.find(({ className }) => className === from);
      const ids = taken.get(script) ?? new Set();
      if (!source || !namespace || ids.has(namespace.id)) {
        throw new MigrationError(
          'conflict',
          `Cannot apply transferred-class migration to class '${to}': the script '${script}' has no Durable Objects of class '${from}'.`,
        );
      }
      requireFree(now, to, 'transferred-class');
      taken.set(script, ids.add(namespace.id));
      now.set(to, { storage: source.storage, ...namespace, className: to });
    }
    for (const [names, sqlite] of [
      [step.new_sqlite_classes, true],
      [step.new_classes, false],
    ] as const) {
      for (const className of names ?? []) {
        requireFree(now, className, sqlite ? 'new-sqlite-class' : 'new-class');
        now.set(className, { id: randomBytes(16).toString('hex'), className, sqlite });
      }
    }
  }
  return { namespaces: [...now.values()], tag: newTag ?? tag, deleted, taken };
}

function stepsOf(migrations: Migrations): z.output<typeof Step>[] {
  return 'steps' in migrations ? migrations.steps : [migrations];
}

function existing(now: Map<string, ObjectNamespace>, className: string, step: string): ObjectNamespace {
  const namespace = now.get(className);
  if (!namespace) {
    throw new MigrationError(
      'conflict',
      `Cannot apply ${step} migration to class '${className}': this Worker has no Durable Objects of that class.`,
    );
  }
  return namespace;
}

function requireFree(now: Map<string, ObjectNamespace>, className: string, step: string): void {
  if (!now.has(className)) return;
  throw new MigrationError(
    'conflict',
    `Cannot apply ${step} migration to class '${className}' that is already depended on by existing Durable Objects.`,
  );
}
