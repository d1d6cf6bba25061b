import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';

const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });

it('takes drafts out for visitors', async () => {
  const { text } = await edge.request(edge.host('hide-drafts'));
  assert.match(text, /Published/);
  assert.doesNotMatch(text, /Not yet|editors|data-draft/);
});

it('leaves drafts in for editors', async () => {
  const { text, headers } = await edge.request(edge.host('hide-drafts'), '/?preview=true');
  assert.match(text, /Not yet/);
  assert.equal(headers['cache-control'], 'no-store');
});
