import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';
import { ALLOW_LOOPBACK, startOrigin } from '../../test/origin.ts';
import { headersFor } from './src/rules.ts';

const application = await startOrigin((request, response) => {
  response.setHeader('x-powered-by', 'secrets');
  response.setHeader('cache-control', 'private');
  response.end(request.url);
});
after(() => application.close());
const edge = await startEdge({ args: ALLOW_LOOPBACK });
after(() => edge.close());
await edge.deployed(['deploy', '--var', `APPLICATION:${application.url}`], { cwd: import.meta.dirname });
const ask = (path: string) => edge.request(edge.host('headers-on-600'), path);

it('sets and takes away headers on all of 600 endpoints', async () => {
  const endpoints = Array.from({ length: 600 }, (_, i) => `/${['api', 'api/public', 'static'][i % 3]}/endpoint-${i}`);
  const expected: Record<string, string> = {
    api: 'no-store',
    'api/public': 'public, max-age=60',
    static: 'public, max-age=31536000, immutable',
  };
  for (let from = 0; from < endpoints.length; from += 20) {
    await Promise.all(
      endpoints.slice(from, from + 20).map(async (path) => {
        const { text, headers } = await ask(path);
        assert.equal(text, path);
        assert.equal(headers['cache-control'], expected[path.slice(1, path.lastIndexOf('/'))]);
        assert.equal(headers['x-content-type-options'], 'nosniff');
        assert.equal(headers['x-powered-by'], undefined);
      }),
    );
  }
});

it('leaves other headers as the application has them', async () => {
  assert.equal((await ask('/elsewhere')).headers['cache-control'], 'private');
});

it('takes a rule for whole segments of the path only', () => {
  assert.equal(headersFor('/apiary')['cache-control'], undefined);
  assert.equal(headersFor('/api')['cache-control'], 'no-store');
  assert.equal(headersFor('/api/publicity')['cache-control'], 'no-store');
});
