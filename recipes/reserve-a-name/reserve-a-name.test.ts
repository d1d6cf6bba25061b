import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { eventually, startEdge } from '../../test/harness.ts';

const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });
const host = edge.host('reserve-a-name');

const reserve = (name: string, email: string) =>
  edge.request(host, `/reserve?${new URLSearchParams({ name, email })}`, { method: 'POST' });
async function confirm(link: string) {
  const { pathname, search } = new URL(link);
  return edge.request(host, pathname + search);
}
const free = async (name: string) => (await edge.request(host, `/free?name=${name}`)).json().free as boolean;

it('of 200 who ask for one name in the same moment exactly one gets it', async () => {
  const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => reserve('ada', `person-${i}@example.com`)));
  const won = answers.filter(({ status }) => status === 201);
  assert.equal(won.length, 1);
  assert.equal(answers.filter(({ status }) => status === 409).length, 199);
  assert.equal((await confirm(won[0]!.json().link)).status, 200);
  assert.equal(await free('ada'), false);
});

it('who lost may ask for another name', async () => {
  const loser = 'loser@example.com';
  assert.equal((await reserve('ada', loser)).status, 409);
  assert.equal((await reserve('grace', loser)).status, 201);
});

it('one person gets one name, however fast they ask', async () => {
  const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => reserve(`greedy-${i}`, 'Greedy@example.com')));
  assert.equal(answers.filter(({ status }) => status === 201).length, 1);
});

it('names of the block list, and what is no name, are refused', async () => {
  assert.equal((await reserve('Admin', 'a@example.com')).status, 403);
  for (const name of ['', '-x', 'a b', 'x'.repeat(80)])
    assert.equal((await reserve(name, 'a@example.com')).status, 400);
  assert.equal((await reserve('fine', 'no address')).status, 400);
});

it('a link confirms its own name only, and what nobody confirms is free again, name and person', async () => {
  await edge.deployed(['deploy', '--var', 'PENDING_MS:5000'], { cwd: import.meta.dirname });
  const { link } = (await reserve('late', 'late@example.com')).json();
  assert.equal((await confirm(link.replace('name=late', 'name=ada'))).status, 403);
  assert.equal((await confirm(link.replace(/token=.*/, 'token=guess'))).status, 403);
  await eventually(() => free('late'));
  assert.equal((await confirm(link)).status, 403);
  const again = await reserve('late', 'late@example.com');
  assert.equal(again.status, 201);
  assert.equal((await confirm(again.json().link)).status, 200);
  await new Promise((resolve) => setTimeout(resolve, 5_500));
  assert.equal(await free('late'), false);
});
