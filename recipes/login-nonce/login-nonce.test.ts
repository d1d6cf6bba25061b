import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';

const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });
const host = edge.host('login-nonce');

async function begin(user: string) {
  const { json, headers } = await edge.request(host, `/start?user=${user}`);
  const [cookie] = headers['set-cookie'] as unknown as string[];
  const link = new URL(json().link);
  return { path: link.pathname + link.search, cookie: cookie!.split(';')[0]! };
}
const finish = (path: string, cookie = '') => edge.request(host, path, { headers: { cookie } });

it('a link logs its user in, once', async () => {
  const { path, cookie } = await begin('ada');
  const first = await finish(path, cookie);
  assert.deepEqual([first.status, first.json()], [200, { user: 'ada' }]);
  for (let i = 0; i < 3; i++) assert.equal((await finish(path, cookie)).status, 403);
});

it('a link is of no use in another browser, and is not used up there', async () => {
  const [ada, eve] = [await begin('ada'), await begin('eve')];
  for (const cookie of ['', eve.cookie]) assert.equal((await finish(ada.path, cookie)).status, 403);
  assert.deepEqual((await finish(ada.path, ada.cookie)).json(), { user: 'ada' });
});

it('a link ends after ten minutes', async () => {
  await begin('late');
  const [namespace] = JSON.parse(await edge.deployed(['kv', 'namespace', 'list'], { cwd: import.meta.dirname })) as {
    id: string;
  }[];
  const list = ['kv', 'key', 'list', '--namespace-id', namespace!.id, '--remote'];
  const keys = JSON.parse(await edge.deployed(list, { cwd: import.meta.dirname })) as { expiration: number }[];
  assert.ok(keys.length > 0);
  for (const { expiration } of keys) assert.ok(Math.abs(expiration - Date.now() / 1000 - 600) < 60);
});

it('nonces that nobody made open nothing', async () => {
  for (const nonce of ['0'.repeat(32), '', '../x']) {
    assert.ok((await finish(`/finish?nonce=${nonce}`)).status >= 403);
  }
});
