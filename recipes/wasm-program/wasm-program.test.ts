import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';

const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });
const host = edge.host('wasm-program');

for (const [below, primes] of [
  [2, 0],
  [100, 25],
  [1_000_000, 78_498],
] as const) {
  it(`counts ${primes} primes below ${below}`, async () => {
    assert.deepEqual((await edge.request(host, `/?below=${below}`)).json(), { below, primes });
  });
}

it('refuses what is no number', async () => {
  assert.equal((await edge.request(host, '/?below=many')).status, 400);
});
