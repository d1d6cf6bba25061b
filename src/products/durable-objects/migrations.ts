/**
 * Migrations of Durable Object classes: which namespaces a Worker has after an upload
 * (https://developers.cloudflare.com/durable-objects/reference/durable-objects-migrations/). Pure: nothing is stored or removed here.
 */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import type { ObjectNamespace } from '../../model/documents.ts';

const ClassName = z.string().min(1).max(256);

const Step = z.strictObject({
  new_classes: z.array(ClassName).max(100).optional(),
  new_sqlite_classes: z.array(ClassName).max(100).optional(),
  renamed_classes: z
    .array(z.strictObject({ from: ClassName, to: ClassName }))
    .max(100)
    .optional(),
  deleted_classes: z.array(ClassName).max(100).optional(),
  transferred_classes: z.array(z.unknown()).max(100).optional(),
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
  readonly kind: 'precondition' | 'conflict' | 'unsupported';
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
}

/** Applies migrations to what a Worker has. Throws MigrationError. */
export function migrate(
  namespaces: readonly ObjectNamespace[],
  tag: string | null,
  migrations: Migrations | undefined,
): Migrated {
  if (!migrations) return { namespaces: [...namespaces], tag, deleted: [] };
  const { old_tag: oldTag, new_tag: newTag } = migrations;
  if (oldTag !== undefined && oldTag !== (tag ?? '')) {
    throw new MigrationError(
      'precondition',
      `Migration tag precondition failed; current tag is '${tag ?? ''}', the upload expects '${oldTag}'.`,
    );
  }
  const steps = 'steps' in migrations ? migrations.steps : [migrations];
  const now = new Map(namespaces.map((namespace) => [namespace.className, namespace]));
  const deleted: ObjectNamespace[] = [];
  for (const step of steps) {
    if (step.transferred_classes?.length) {
      throw new MigrationError(
        'unsupported',
        'This Selvedge cannot transfer Durable Object classes between Workers yet.',
      );
    }
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
  return { namespaces: [...now.values()], tag: newTag ?? tag, deleted };
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
