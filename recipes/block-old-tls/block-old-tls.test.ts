import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';
import worker from './src/index.ts';

const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  it(`lets ${version} in`, async () => {
    const { status, text } = await edge.tls(edge.host('block-old-tls'), '/', {
      minVersion: version,
      maxVersion: version,
    });
    assert.equal(status, 200);
    assert.equal(text, `Welcome, over ${version}.\n`);
  });
}

// The edge refuses the handshake, so the Worker is asked directly for what an edge that allows it would pass on.
for (const version of ['TLSv1', 'TLSv1.1']) {
  it(`refuses ${version} with 403`, async () => {
    const request = Object.assign(new Request('https://shop.example/'), { cf: { tlsVersion: version } });
    assert.equal((await worker.fetch(request)).status, 403);
  });
}
