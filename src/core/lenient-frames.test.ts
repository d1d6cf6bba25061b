import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { lenientFrames } from './lenient-frames.ts';

/** A client's frame; `mask` of four bytes or none. */
function frame(payload: Buffer, mask?: Buffer, opcode = 1): Buffer {
  const bit = mask ? 0x80 : 0;
  let head: Buffer;
  if (payload.length < 126) head = Buffer.from([0x80 | opcode, bit | payload.length]);
  else if (payload.length < 65536) {
    head = Buffer.from([0x80 | opcode, bit | 126, 0, 0]);
    head.writeUInt16BE(payload.length, 2);
  } else {
    head = Buffer.concat([Buffer.from([0x80 | opcode, bit | 127]), Buffer.alloc(8)]);
    head.writeBigUInt64BE(BigInt(payload.length), 2);
  }
  if (!mask) return Buffer.concat([head, payload]);
  return Buffer.concat([head, mask, payload.map((byte, index) => byte ^ mask[index % 4]!)]);
}

async function through(chunks: Buffer[], limit?: number): Promise<Buffer> {
  const stream = lenientFrames(limit);
  const out: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => out.push(chunk));
  const ended = new Promise<void>((resolve, reject) => stream.once('end', resolve).once('error', reject));
  for (const chunk of chunks) stream.write(chunk);
  stream.end();
  await ended;
  return Buffer.concat(out);
}

const MASK = Buffer.from([1, 2, 3, 4]);
const ZERO = Buffer.alloc(4);
const plain = Buffer.from('{"debug":false}');
const medium = Buffer.alloc(300, 'm');
const long = Buffer.alloc(70_000, 'l');

describe('lenient frames', () => {
  it('give an unmasked frame the mask zero', async () => {
    assert.deepEqual(await through([frame(plain)]), frame(plain, ZERO));
  });
  it('leave masked frames as they are', async () => {
    assert.deepEqual(await through([frame(plain, MASK)]), frame(plain, MASK));
  });
  it('handle empty frames, medium and long lengths, and frames of both kinds in a row', async () => {
    const input = [
      frame(Buffer.alloc(0), undefined, 9),
      frame(medium),
      frame(plain, MASK),
      frame(long),
      frame(long, MASK),
    ];
    const expected = [frame(Buffer.alloc(0), ZERO, 9), frame(medium, ZERO), frame(plain, MASK), frame(long, ZERO)];
    assert.deepEqual(await through(input, 100_000), Buffer.concat([...expected, frame(long, MASK)]));
  });
  it('give the same when bytes come one by one', async () => {
    const input = Buffer.concat([frame(plain), frame(medium, MASK), frame(medium), frame(Buffer.alloc(0), MASK, 8)]);
    const single = [...input].map((byte) => Buffer.from([byte]));
    assert.deepEqual(await through(single), await through([input]));
  });
  it('give the same wherever one cut falls', async () => {
    const input = Buffer.concat([frame(medium), frame(plain, MASK), frame(plain)]);
    const whole = await through([input]);
    for (let cut = 0; cut <= input.length; cut++) {
      assert.deepEqual(await through([input.subarray(0, cut), input.subarray(cut)]), whole, `cut at ${cut}`);
    }
  });
  it('refuse a frame that is too large, by its head alone', async () => {
    await assert.rejects(through([frame(medium).subarray(0, 4)], 299), /300 bytes is too large/);
    const huge = Buffer.from([0x81, 127, 255, 255, 255, 255, 255, 255, 255, 255]);
    await assert.rejects(through([huge]), /too large/);
  });
});
