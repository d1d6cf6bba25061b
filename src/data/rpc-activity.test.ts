import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createActivity, createMessageReader, QUIET_MS } from './rpc-activity.ts';

/** A message of one segment whose root has `type` in its first bits, `words` long, with the root `offset` words on. */
function message(type: number, words = 4, offset = 0): Buffer {
  const bytes = Buffer.alloc(8 + words * 8);
  bytes.writeUInt32LE(words, 4);
  bytes.writeInt32LE(offset << 2, 8);
  bytes.writeUInt16LE(type, 16 + offset * 8);
  return bytes;
}

/** As above with three segments: the table is padded to whole words. */
function segmented(type: number): Buffer {
  const bytes = Buffer.alloc(16 + (2 + 1 + 3) * 8);
  bytes.writeUInt32LE(2, 0);
  for (const [index, words] of [2, 1, 3].entries()) bytes.writeUInt32LE(words, 4 + index * 4);
  bytes.writeUInt16LE(type, 24);
  return bytes;
}

/** A call with its Call struct behind the root, `offset` words on; `pipelineOnly`: it gets no return. */
function call(pipelineOnly: boolean, offset = 0): Buffer {
  const bytes = message(2, 1 + 2 + offset + 3);
  bytes.writeInt32LE(offset << 2, 24);
  bytes.writeUInt16LE(3, 28);
  if (pipelineOnly) bytes.writeUInt8(4, 32 + offset * 8 + 16);
  return bytes;
}

const HEAD = Buffer.from('CONNECT x HTTP/1.1\r\n\r\n');
const OK = Buffer.from('HTTP/1.1 200 OK\r\n\r\n');
const [CALL, RETURN, FINISH, BOOTSTRAP] = [2, 3, 4, 8];

describe('messages of an RPC connection', () => {
  const stream = Buffer.concat([
    HEAD,
    message(BOOTSTRAP),
    segmented(CALL),
    message(FINISH, 100, 7),
    message(RETURN, 2),
  ]);
  const types = [BOOTSTRAP, CALL, FINISH, RETURN];

  it('are found wherever the stream is cut', () => {
    for (let size = 1; size <= stream.length; size++) {
      const found: number[] = [];
      const read = createMessageReader((type) => found.push(type));
      for (let at = 0; at < stream.length; at += size) read(stream.subarray(at, at + size));
      assert.deepEqual(found, types, `pieces of ${size}`);
    }
  });
  it('are given up, not guessed, in a stream that is something else', () => {
    // Only a root pointer, of a root that would lie behind the end.
    const rootless = Buffer.alloc(16);
    rootless.writeUInt32LE(1, 4);
    const noises = [Buffer.alloc(100_000, 0xff), Buffer.alloc(100_000), message(CALL, 4, -1), rootless];
    for (const noise of noises) {
      const found: number[] = [];
      const read = createMessageReader((type) => found.push(type));
      read(HEAD);
      for (let at = 0; at < noise.length; at += 5000) read(noise.subarray(at, at + 5000));
      read(message(CALL));
      assert.deepEqual(found, []);
    }
  });
});

describe('activity of a relayed connection', () => {
  const later = () => Date.now() + QUIET_MS + 1;

  it('of RPC is its calls that have no return yet, however long they are silent', () => {
    const activity = createActivity();
    assert.equal(activity.fromCaller(HEAD), 0);
    activity.fromTarget(OK);
    assert.equal(activity.open(later()), 0);
    assert.equal(activity.fromCaller(Buffer.concat([message(BOOTSTRAP), message(CALL)])), 2);
    activity.fromTarget(message(RETURN));
    activity.fromCaller(message(FINISH));
    assert.equal(activity.open(later()), 1);
    activity.fromTarget(message(RETURN));
    activity.fromCaller(message(FINISH));
    assert.equal(activity.open(Date.now()), 0);
  });
  it('of RPC has no calls that are for their pipeline only, wherever the stream is cut', () => {
    const bytes = Buffer.concat([HEAD, call(false), call(true), call(true, 5), call(false, 5), message(FINISH)]);
    for (let size = 8; size <= bytes.length; size++) {
      const activity = createActivity();
      let begun = 0;
      for (let at = 0; at < bytes.length; at += size) begun += activity.fromCaller(bytes.subarray(at, at + size));
      assert.deepEqual([begun, activity.open(later())], [2, 2], `pieces of ${size}`);
    }
  });
  it('of HTTP lasts from the first byte of a request to the last one of its answer, however long it is silent', () => {
    const activity = createActivity();
    assert.equal(activity.betweenRequests, false);
    for (let i = 0; i < 2; i++) {
      assert.equal(activity.fromCaller(Buffer.from('GET / HTTP/1.1\r\n')), 1);
      assert.equal(activity.fromCaller(Buffer.from('Host: x\r\n\r\n')), 0);
      assert.equal(activity.open(later()), 1);
      activity.fromTarget(Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na'));
      assert.equal(activity.open(later()), 1);
      assert.equal(activity.betweenRequests, false);
      activity.fromTarget(Buffer.from('b'));
      assert.equal(activity.open(Date.now()), 0);
      assert.equal(activity.betweenRequests, true);
    }
  });
  it('of HTTP that cannot be followed is guessed from the bytes that flow', () => {
    const activity = createActivity();
    activity.fromCaller(Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'));
    activity.fromTarget(Buffer.from('what is this\r\n\r\n'));
    assert.equal(activity.open(Date.now()), 1);
    assert.equal(activity.open(later()), 0);
    assert.equal(activity.betweenRequests, false);
  });
  it('of a WebSocket lasts until it closes', () => {
    const activity = createActivity();
    activity.fromCaller(Buffer.from('GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n'));
    activity.fromTarget(Buffer.from('HTTP/1.1 101 Switching Protocols\r\n\r\n'));
    assert.equal(activity.open(later()), 1);
  });
});
