import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';

const edge = await startEdge();
after(() => edge.close());
const here = { cwd: import.meta.dirname };
await edge.deployed(['deploy'], here);
await edge.deployed(['d1', 'migrations', 'apply', 'shop', '--remote'], here);
await edge.deployed(['secret', 'put', 'TOKEN'], { ...here, input: 'hush' });
const host = edge.host('shop-api');

const get = (path: string) => edge.request(host, path);
const send = (method: string, path: string, body: object, token = 'hush') =>
  edge.request(host, path, {
    method,
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
  });

it('makes and changes products, for who has the token', async () => {
  const made = await send('POST', '/products', { name: 'Tea', cents: 450, stock: 3 });
  assert.deepEqual([made.status, made.json()], [201, { id: 1, name: 'Tea', cents: 450, stock: 3 }]);
  const changed = await send('PUT', '/products/1', { cents: 500 });
  assert.deepEqual([changed.status, changed.json()], [200, { id: 1, name: 'Tea', cents: 500, stock: 3 }]);
  assert.deepEqual((await get('/products/1')).json(), changed.json());
  for (const token of ['', 'guess']) {
    assert.equal((await send('POST', '/products', { name: 'Mug', cents: 1, stock: 1 }, token)).status, 401);
    assert.equal((await send('PUT', '/products/1', { cents: 0 }, token)).status, 401);
  }
  assert.equal((await get('/products')).json().products.length, 1);
});

it('refuses what is no product', async () => {
  for (const [body, status] of [
    [{ name: 'Tea', cents: 1, stock: 1 }, 409],
    [{ name: '', cents: 1, stock: 1 }, 400],
    [{ name: 'Free', cents: -1, stock: 1 }, 400],
    [{ cents: 1 }, 400],
    [{}, 400],
  ] as const) {
    assert.equal((await send('POST', '/products', body)).status, status, JSON.stringify(body));
  }
  assert.equal((await send('PUT', '/products/99', { cents: 1 })).status, 404);
  assert.equal((await get('/products/99')).status, 404);
  assert.equal((await get("/products/1'--")).status, 404);
});

it('lists in pages, and finds by a part of the name', async () => {
  for (let i = 0; i < 45; i++) await send('POST', '/products', { name: `Cup 100% no_${i}`, cents: i, stock: 1 });
  const names: string[] = [];
  let pages = 0;
  for (let after: number | null = 0; after !== null; pages++) {
    const { products, next }: { products: { name: string }[]; next: number | null } = (
      await get(`/products?after=${after}`)
    ).json();
    names.push(...products.map(({ name }) => name));
    after = next;
  }
  assert.deepEqual([pages, names.length, new Set(names).size], [3, 46, 46]);
  const found = async (q: string) => (await get(`/products?q=${encodeURIComponent(q)}`)).json().products.length;
  assert.deepEqual(
    [await found('TEA'), await found('no_44'), await found('%'), await found("'; DROP TABLE")],
    [1, 1, 20, 0],
  );
});

it('sells what is there and not one more, however many order at once', async () => {
  const stock = 30;
  const { id } = (await send('POST', '/products', { name: 'Last pieces', cents: 100, stock })).json();
  const answers = await Promise.all(
    Array.from({ length: 100 }, () => send('POST', `/products/${id}/orders`, { quantity: 1 }, '')),
  );
  const sold = answers.filter(({ status }) => status === 201);
  assert.equal(sold.length, stock);
  assert.ok(answers.every(({ status }) => status === 201 || status === 409));
  assert.deepEqual(new Set(sold.map((answer) => answer.json().left)).size, stock);
  assert.equal((await get(`/products/${id}`)).json().stock, 0);
  const count = `SELECT count(*) AS orders, sum(quantity) AS sold FROM orders WHERE product = ${id}`;
  const output = await edge.deployed(['d1', 'execute', 'shop', '--remote', '--json', '--command', count], here);
  assert.deepEqual(JSON.parse(output)[0].results, [{ orders: stock, sold: stock }]);
});

it('refuses orders of nothing, and of what is not there', async () => {
  assert.equal((await send('POST', '/products/1/orders', { quantity: 0 })).status, 400);
  assert.equal((await send('POST', '/products/1/orders', { quantity: 1.5 })).status, 400);
  assert.equal((await send('POST', '/products/1/orders', { quantity: 1000 })).status, 409);
  assert.equal((await send('POST', '/products/99/orders', { quantity: 1 })).status, 404);
});
