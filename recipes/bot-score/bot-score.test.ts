import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';
import { ALLOW_LOOPBACK, startOrigin } from '../../test/origin.ts';

const application = await startOrigin((request, response) => response.end(String(request.headers['x-bot-score'])));
after(() => application.close());
const edge = await startEdge({ args: ALLOW_LOOPBACK });
after(() => edge.close());
await edge.deployed(['deploy', '--var', `APPLICATION:${application.url}`], { cwd: import.meta.dirname });

const scoreOf = async (headers: Record<string, string>) =>
  (await edge.request(edge.host('bot-score'), '/', { headers })).text;
const BROWSER = {
  'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0',
  'accept-language': 'de',
  'accept-encoding': 'gzip',
};

it('is high for a browser', async () => {
  assert.equal(await scoreOf(BROWSER), '99');
});

it('is low for a program', async () => {
  assert.equal(await scoreOf({ 'user-agent': 'curl/8.9' }), '1');
  assert.equal(await scoreOf({ ...BROWSER, 'user-agent': 'GoodBot/1.0' }), '39');
  assert.equal(await scoreOf({}), '9');
});

it('cannot be claimed by a client', async () => {
  assert.equal(await scoreOf({ 'user-agent': 'curl/8.9', 'x-bot-score': '99' }), '1');
});
