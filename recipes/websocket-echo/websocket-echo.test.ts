import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';

const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['deploy'], { cwd: import.meta.dirname });
const host = edge.host('websocket-echo');

it('sends back text and bytes, in order', async () => {
  const socket = await edge.websocket(host);
  for (const message of ['hello', 'grüße', 'x'.repeat(100_000)]) {
    socket.send(message);
    const [data, isBinary] = await once(socket, 'message');
    assert.equal(isBinary, false);
    assert.equal(data.toString(), message);
  }
  socket.send(Buffer.from([0, 1, 255]));
  const [data, isBinary] = await once(socket, 'message');
  assert.ok(isBinary);
  assert.deepEqual(data, Buffer.from([0, 1, 255]));
  socket.close(4001, 'enough');
  const [code, reason] = await once(socket, 'close');
  assert.deepEqual([code, reason.toString()], [4001, 'enough']);
});

it('says what it expects to others', async () => {
  assert.equal((await edge.request(host)).status, 426);
});
