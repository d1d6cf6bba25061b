import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';

const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });

const variantOf = (page: string) => /data-variant="([ab])"/.exec(page)?.[1];

it('decides for new visitors and gives both variants', async () => {
  const seen = new Set<string | undefined>();
  // Missing one of two variants in 64 throws has a chance of 1 in 10^19.
  for (let i = 0; i < 64 && seen.size < 2; i++) {
    const { text, headers } = await edge.request(edge.host('ab-test'));
    assert.match(String(headers['set-cookie']), new RegExp(`ab-headline=${variantOf(text)};`));
    seen.add(variantOf(text));
  }
  assert.deepEqual([...seen].sort(), ['a', 'b']);
});

for (const variant of ['a', 'b']) {
  it(`keeps a visitor in variant ${variant}`, async () => {
    for (let i = 0; i < 5; i++) {
      const { text, headers } = await edge.request(edge.host('ab-test'), '/', {
        headers: { cookie: `x=1; ab-headline=${variant}` },
      });
      assert.equal(variantOf(text), variant);
      assert.equal(headers['set-cookie'], undefined);
    }
  });
}
