import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';
import { ALLOW_LOOPBACK, startOrigin } from '../../test/origin.ts';

let score = '1:0';
const api = await startOrigin((_request, response) =>
  response.end(JSON.stringify({ 'united-city': `<i>${score}</i>` })),
);
after(() => api.close());
const edge = await startEdge({ args: ALLOW_LOOPBACK });
after(() => edge.close());
await edge.deployed(['deploy', '--var', `SCORES:${api.url}/live.json`], { cwd: import.meta.dirname });

it('shows the score of now, as text', async () => {
  for (score of ['1:0', '1:1']) {
    const { text, headers } = await edge.request(edge.host('live-scores'));
    assert.match(text, new RegExp(`data-match="united-city">&lt;i&gt;${score}&lt;/i&gt;</b>`));
    assert.match(text, /data-match="rovers-wanderers">not begun</);
    assert.equal(headers['cache-control'], 'no-store');
  }
});

it('shows the page without scores while the API is down', async () => {
  api.down(true);
  const { status, text } = await edge.request(edge.host('live-scores'));
  assert.equal(status, 200);
  assert.match(text, /data-match="united-city">not begun</);
});
