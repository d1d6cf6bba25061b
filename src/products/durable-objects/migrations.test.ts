/** Which Durable Object namespaces a Worker has after migrations. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MigrationError, Migrations, migrate } from './migrations.ts';

const parse = (value: unknown) => Migrations.parse(value);
const names = (namespaces: { className: string; sqlite: boolean }[]) =>
  namespaces.map(({ className, sqlite }) => `${className}${sqlite ? ':sql' : ''}`);

describe('migrations', () => {
  const first = migrate([], null, parse({ new_tag: 'v1', steps: [{ new_sqlite_classes: ['A'], new_classes: ['B'] }] }));

  it('create namespaces, with SQL or without', () => {
    assert.deepEqual(names(first.namespaces), ['A:sql', 'B']);
    assert.equal(first.tag, 'v1');
    for (const { id } of first.namespaces) assert.match(id, /^[0-9a-f]{32}$/);
  });

  it('rename a class, whose objects stay', () => {
    const { namespaces, tag } = migrate(
      first.namespaces,
      'v1',
      parse({ old_tag: 'v1', new_tag: 'v2', steps: [{ renamed_classes: [{ from: 'A', to: 'C' }] }] }),
    );
    assert.deepEqual(names(namespaces).sort(), ['B', 'C:sql']);
    assert.equal(namespaces.find(({ className }) => className === 'C')!.id, first.namespaces[0]!.id);
    assert.equal(tag, 'v2');
  });

  it('delete a class, and can create one of its name with new objects', () => {
    const { namespaces, deleted } = migrate(
      first.namespaces,
      'v1',
      parse({ old_tag: 'v1', new_tag: 'v3', steps: [{ deleted_classes: ['A'] }, { new_sqlite_classes: ['A'] }] }),
    );
    assert.deepEqual(deleted, [first.namespaces[0]]);
    assert.notEqual(namespaces.find(({ className }) => className === 'A')!.id, first.namespaces[0]!.id);
  });

  it('may stand without steps, and without anything', () => {
    assert.deepEqual(names(migrate([], null, parse({ new_tag: 'v1', new_classes: ['A'] })).namespaces), ['A']);
    assert.deepEqual(migrate(first.namespaces, 'v1', undefined), {
      namespaces: first.namespaces,
      tag: 'v1',
      deleted: [],
    });
  });

  for (const [what, migrations, kind] of [
    ['another tag than the current one', { old_tag: 'v0', new_tag: 'v2', steps: [] }, 'precondition'],
    ['a class that is there', { steps: [{ new_classes: ['A'] }] }, 'conflict'],
    ['a class that is there with SQL', { steps: [{ new_sqlite_classes: ['B'] }] }, 'conflict'],
    ['to delete what is not there', { steps: [{ deleted_classes: ['X'] }] }, 'conflict'],
    ['to rename what is not there', { steps: [{ renamed_classes: [{ from: 'X', to: 'Y' }] }] }, 'conflict'],
    ['to rename to what is there', { steps: [{ renamed_classes: [{ from: 'A', to: 'B' }] }] }, 'conflict'],
    ['to transfer', { steps: [{ transferred_classes: [{ from: 'A', from_script: 'x', to: 'A' }] }] }, 'unsupported'],
  ] as const) {
    it(`are refused for ${what}`, () => {
      assert.throws(
        () => migrate(first.namespaces, 'v1', parse(migrations)),
        (error) => error instanceof MigrationError && error.kind === kind,
      );
    });
  }

  it('of unknown steps are refused by name', () => {
    assert.throws(() => parse({ steps: [{ new_clases: ['A'] }] }));
  });
});
