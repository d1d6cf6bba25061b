import assert from 'node:assert/strict';
import { after, beforeEach, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';
import { ALLOW_LOOPBACK, startOrigin } from '../../test/origin.ts';
import { byPrice } from './src/index.ts';

let status = 200;
const cheap = await startOrigin((request, response) => {
  response.statusCode = status;
  response.end(`cheap ${request.url}`);
});
const dear = await startOrigin((_request, response) => response.end('dear'));
after(() => Promise.all([cheap.close(), dear.close()]));
const edge = await startEdge({ args: ALLOW_LOOPBACK });
after(() => edge.close());
const clouds = [
  { name: 'dear', origin: dear.url, price: { '*': 0.2 } },
  { name: 'cheap', origin: cheap.url, price: { '*': 0.1 } },
];
await edge.deployed(['deploy', '--var', `CLOUDS:${JSON.stringify(clouds)}`], { cwd: import.meta.dirname });
const ask = (method = 'GET') => edge.request(edge.host('cloud-router'), '/file?a=1', { method });
beforeEach(() => {
  status = 200;
  cheap.down(false);
});

it('takes the cheapest cloud', async () => {
  const { text, headers } = await ask();
  assert.deepEqual([text, headers['x-cloud']], ['cheap /file?a=1', 'cheap']);
});

it('takes the next one when one is down or fails', async () => {
  cheap.down(true);
  assert.equal((await ask()).text, 'dear');
  cheap.down(false);
  status = 503;
  assert.equal((await ask()).headers['x-cloud'], 'dear');
});

it('does not repeat what changes something', async () => {
  status = 503;
  const before = dear.asked.length;
  assert.equal((await ask('POST')).status, 503);
  assert.equal(dear.asked.length, before);
});

it('knows prices by continent', () => {
  const table = [
    { name: 'a', origin: '', price: { EU: 3, '*': 1 } },
    { name: 'b', origin: '', price: { EU: 2, '*': 2 } },
  ];
  assert.deepEqual(
    ['EU', 'NA'].map((continent) => byPrice(table, continent)[0]!.name),
    ['b', 'a'],
  );
});
