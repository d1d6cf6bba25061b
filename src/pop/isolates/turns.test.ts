import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Turns } from './turns.ts';

it('a tenant has so many works under way; others do not wait for him, and one that fails gives its turn on', async () => {
  const turns = new Turns(2);
  const begun: string[] = [];
  const ends = new Map<string, (failure?: Error) => void>();
  const work = (tenant: string, name: string) =>
    turns.take(
      tenant,
      () =>
        new Promise<void>((resolve, reject) => {
          begun.push(name);
          ends.set(name, (failure) => (failure ? reject(failure) : resolve()));
        }),
    );
  const works = ['a1', 'a2', 'a3', 'a4', 'b1'].map((name) => work(name[0]!, name));
  assert.deepEqual(begun, ['a1', 'a2', 'b1']);
  ends.get('a2')!(new Error('it failed'));
  await assert.rejects(works[1]!, /it failed/);
  assert.deepEqual(begun, ['a1', 'a2', 'b1', 'a3']);
  ends.get('a1')!();
  await works[0];
  assert.deepEqual(begun, ['a1', 'a2', 'b1', 'a3', 'a4']);
  for (const name of ['a3', 'a4', 'b1']) ends.get(name)!();
  await Promise.all([works[2], works[3], works[4]]);
  const again = work('a', 'a5');
  ends.get('a5')!();
  await again;
});
