/** Which Durable Object namespaces a Worker has after migrations. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MigrationError, Migrations, migrate } from './migrations.ts';

const parse = (value: unknown) => Migrations.parse(value);
const names = (namespaces: { className: string; sqlite: boolean }[]) =>
  namespaces.map(({ className, sqlite }) => `${className}${sqlite ? ':sql' : ''}`);

/** `from` of the Worker `script` to each of these classes. */
const transfer = (from: string, script: string, ...to: string[]) => ({
  steps: [{ transferred_classes: to.map((each) => ({ from, from_script: script, to: each })) }],
});
const sources = new Map([
  [
    'other',
    {
      storage: 'their storage',
      namespaces: [
        { id: '1', className: 'Theirs', sqlite: true },
        { id: '2', className: 'Older', sqlite: false, storage: 'another storage' },
      ],
    },
  ],
]);

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

  it('transfer a class of another Worker, with its id and to where its objects are', () => {
    const { namespaces, taken } = migrate(
      first.namespaces,
      'v1',
      parse({
        new_tag: 'v2',
        transferred_classes: [
          { from: 'Theirs', from_script: 'other', to: 'Ours' },
          { from: 'Older', from_script: 'other', to: 'Older' },
        ],
      }),
      sources,
    );
    assert.deepEqual(namespaces, [
      ...first.namespaces,
      { id: '1', className: 'Ours', sqlite: true, storage: 'their storage' },
      { id: '2', className: 'Older', sqlite: false, storage: 'another storage' },
    ]);
    assert.deepEqual(taken, new Map([['other', new Set(['1', '2'])]]));
  });

  it('may transfer a class and rename or delete it in a later step', () => {
    const { namespaces, deleted } = migrate(
      [],
      null,
      parse({
        steps: [
          ...transfer('Theirs', 'other', 'A').steps,
          ...transfer('Older', 'other', 'B').steps,
          { renamed_classes: [{ from: 'A', to: 'C' }], deleted_classes: ['B'] },
        ],
      }),
      sources,
    );
    assert.deepEqual(namespaces, [{ id: '1', className: 'C', sqlite: true, storage: 'their storage' }]);
    assert.deepEqual(
      deleted.map(({ id, storage }) => [id, storage]),
      [['2', 'another storage']],
    );
  });

  it('may stand without steps, and without anything', () => {
    assert.deepEqual(names(migrate([], null, parse({ new_tag: 'v1', new_classes: ['A'] })).namespaces), ['A']);
    assert.deepEqual(migrate(first.namespaces, 'v1', undefined), {
      namespaces: first.namespaces,
      tag: 'v1',
      deleted: [],
      taken: new Map(),
    });
  });

  for (const [what, migrations, kind] of [
    ['another tag than the current one', { old_tag: 'v0', new_tag: 'v2', steps: [] }, 'precondition'],
    ['a class that is there', { steps: [{ new_classes: ['A'] }] }, 'conflict'],
    ['a class that is there with SQL', { steps: [{ new_sqlite_classes: ['B'] }] }, 'conflict'],
    ['to delete what is not there', { steps: [{ deleted_classes: ['X'] }] }, 'conflict'],
    ['to rename what is not there', { steps: [{ renamed_classes: [{ from: 'X', to: 'Y' }] }] }, 'conflict'],
    ['to rename to what is there', { steps: [{ renamed_classes: [{ from: 'A', to: 'B' }] }] }, 'conflict'],
    ['to transfer from a Worker that is not there', transfer('A', 'nobody', 'X'), 'conflict'],
    ['to transfer what the other one does not have', transfer('X', 'other', 'X'), 'conflict'],
    ['to transfer to what is there', transfer('Theirs', 'other', 'A'), 'conflict'],
    ['to transfer twice', transfer('Theirs', 'other', 'X', 'Y'), 'conflict'],
  ] as const) {
    it(`are refused for ${what}`, () => {
      assert.throws(
        () => migrate(first.namespaces, 'v1', parse(migrations), sources),
        (error) => error instanceof MigrationError && error.kind === kind,
      );
    });
  }

  it('of unknown steps are refused by name', () => {
    assert.throws(() => parse({ steps: [{ new_clases: ['A'] }] }));
  });
});
