import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';

const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });

it('mends the name in text only', async () => {
  const { text } = await edge.request(edge.host('brand-name'));
  assert.match(text, /<title>Selvedge News<\/title>/);
  assert.match(text, /<h1>Selvedge is here<\/h1>/);
  assert.match(text, /<em>Selvedge<\/em> can do: Selvedge, Selvedge!/);
  assert.match(text, /const SelfEdge = 1/);
  assert.match(text, /title="SelfEdge"/);
});
