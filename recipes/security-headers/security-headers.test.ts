import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';

const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });

for (const [path, status] of [
  ['/', 200],
  ['/missing', 404],
] as const) {
  it(`are on a response with ${status}`, async () => {
    const answer = await edge.tls(edge.host('security-headers'), path, { http2: true });
    assert.equal(answer.status, status);
    assert.match(String(answer.headers['strict-transport-security']), /max-age=63072000/);
    assert.match(String(answer.headers['content-security-policy']), /default-src 'self'/);
    assert.equal(answer.headers['x-frame-options'], 'DENY');
    assert.equal(answer.headers['x-content-type-options'], 'nosniff');
    assert.equal(answer.headers['x-powered-by'], undefined);
  });
}
