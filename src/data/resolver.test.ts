import assert from 'node:assert/strict';
import type { LookupAddress } from 'node:dns';
import { describe, it } from 'node:test';
import type { Resolve } from './addresses.ts';
import { boundedResolve } from './resolver.ts';

type Answer = (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void;

/** A resolver that answers when it is told to. */
function slow() {
  const asked: { name: string; answer: Answer }[] = [];
  const resolve: Resolve = (name, _options, answer) => void asked.push({ name, answer });
  return { asked, resolve };
}
const ask = (resolve: Resolve, name: string) =>
  new Promise<string>((done) => {
    resolve(name, { all: true }, (error, found) => done(error?.code ?? found.map(({ address }) => address).join()));
  });
const found = (address: string) => [{ address, family: 4 }];

describe('name lookups of an account', () => {
  it('are two at a time; others wait for their turn', async () => {
    const { asked, resolve } = slow();
    const bounded = boundedResolve(resolve);
    const all = ['a', 'b', 'c', 'd'].map((name) => ask(bounded, name));
    assert.deepEqual(
      asked.map(({ name }) => name),
      ['a', 'b'],
    );
    asked[1]!.answer(null, found('2.2.2.2'));
    assert.deepEqual(
      asked.map(({ name }) => name),
      ['a', 'b', 'c'],
    );
    asked[2]!.answer(Object.assign(new Error('no'), { code: 'ENOTFOUND' }), []);
    asked[0]!.answer(null, found('1.1.1.1'));
    asked[3]!.answer(null, found('4.4.4.4'));
    assert.deepEqual(await Promise.all(all), ['1.1.1.1', '2.2.2.2', 'ENOTFOUND', '4.4.4.4']);
  });

  it('do not take the turns of another account', () => {
    const { asked, resolve } = slow();
    const one = boundedResolve(resolve);
    for (const name of ['a', 'b', 'c']) void ask(one, name);
    void ask(boundedResolve(resolve), 'other');
    assert.equal(asked.at(-1)?.name, 'other');
  });

  it('of one name are one, for all who wait for it', async () => {
    const { asked, resolve } = slow();
    const bounded = boundedResolve(resolve);
    const all = ['X.example', 'x.example', 'x.example'].map((name) => ask(bounded, name));
    assert.equal(asked.length, 1);
    asked[0]!.answer(null, found('1.1.1.1'));
    assert.deepEqual(await Promise.all(all), ['1.1.1.1', '1.1.1.1', '1.1.1.1']);
  });

  it('are kept for a moment, failures not at all', async () => {
    const { asked, resolve } = slow();
    const bounded = boundedResolve(resolve, 60_000);
    const first = ask(bounded, 'a');
    asked[0]!.answer(null, found('1.1.1.1'));
    assert.deepEqual([await first, await ask(bounded, 'a'), asked.length], ['1.1.1.1', '1.1.1.1', 1]);
    const failed = ask(bounded, 'b');
    asked[1]!.answer(Object.assign(new Error('no'), { code: 'EAI_AGAIN' }), []);
    assert.equal(await failed, 'EAI_AGAIN');
    void ask(bounded, 'b');
    assert.equal(asked.length, 3);
    const forgetful = boundedResolve(resolve, -1);
    void ask(forgetful, 'c');
    asked[3]!.answer(null, found('3.3.3.3'));
    void ask(forgetful, 'c');
    assert.equal(asked.length, 5);
  });

  it('that would wait behind too many others fail', async () => {
    const { resolve } = slow();
    const bounded = boundedResolve(resolve);
    for (let i = 0; i < 258; i++) void ask(bounded, `n${i}`);
    assert.equal(await ask(bounded, 'one more'), 'EAI_AGAIN');
  });
});
