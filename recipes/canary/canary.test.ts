import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';
import { ALLOW_LOOPBACK, startOrigin } from '../../test/origin.ts';

let broken = false;
const stable = await startOrigin((request, response) => response.end(`stable ${request.method} ${request.url}`));
const canary = await startOrigin((_request, response) => {
  response.statusCode = broken ? 503 : 200;
  response.end('canary');
});
after(() => Promise.all([stable.close(), canary.close()]));
const edge = await startEdge({ args: ALLOW_LOOPBACK });
after(() => edge.close());
const vars = (percent: number) =>
  [`STABLE:${stable.url}`, `CANARY:${canary.url}`, `PERCENT:${percent}`].flatMap((text) => ['--var', text]);
const cwd = import.meta.dirname;
await edge.deployed(['deploy', ...vars(50)], { cwd });
const ask = (cookie?: string, path = '/') =>
  edge.request(edge.host('canary'), path, cookie ? { headers: { cookie } } : {});

it('throws dice for new visitors', async () => {
  const seen = new Set<string>();
  // Missing one of two sides in 64 throws has a chance of 1 in 10^19.
  for (let i = 0; i < 64 && seen.size < 2; i++) {
    const { text, headers } = await ask();
    seen.add(text);
    assert.match(String(headers['set-cookie']), text === 'canary' ? /^canary=yes;/ : /^canary=no;/);
  }
  assert.deepEqual([...seen].sort(), ['canary', 'stable GET /']);
});

it('keeps visitors on their side', async () => {
  for (let i = 0; i < 10; i++) {
    assert.equal((await ask('canary=yes')).text, 'canary');
    const { text, headers } = await ask('a=b; canary=no', '/path?query=1');
    assert.equal(text, 'stable GET /path?query=1');
    assert.equal(headers['set-cookie'], undefined);
  }
});

it('sends visitors back from a canary that fails', async () => {
  broken = true;
  const { status, headers } = await ask('canary=yes');
  assert.equal(status, 503);
  assert.match(String(headers['set-cookie']), /^canary=no;/);
});

it('takes its share from the configuration', async () => {
  await edge.deployed(['deploy', ...vars(0)], { cwd });
  for (let i = 0; i < 20; i++) assert.match((await ask()).text, /^stable/);
});
