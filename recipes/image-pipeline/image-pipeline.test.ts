import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { crc32, deflateSync, inflateSync } from 'node:zlib';
import { eventually, startEdge } from '../../test/harness.ts';

const edge = await startEdge();
after(() => edge.close());
await edge.deployed(['queues', 'create', 'image-failures'], { cwd: import.meta.dirname });
await edge.deployed(['deploy'], { cwd: import.meta.dirname });
const host = edge.host('image-pipeline');

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type), data]);
  const [length, crc] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  crc.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, crc]);
}

/** Left half red, right half blue; each row by another filter. */
function png(width: number, height: number): Buffer {
  const row = Buffer.alloc(width * 3);
  for (let x = 0; x < width; x++) row.set(x < width / 2 ? [255, 0, 0] : [0, 0, 255], x * 3);
  const rows: Buffer[] = [];
  for (let y = 0; y < height; y++) {
    const filter = y % 5;
    const told = row.map((value, at) => {
      const left = at < 3 ? 0 : row[at - 3]!;
      const [up, corner] = y === 0 ? [0, 0] : [row[at]!, left];
      const guess = left + up - corner;
      const nearest = [left, up, corner].sort((a, b) => Math.abs(guess - a) - Math.abs(guess - b))[0]!;
      return value - [0, left, up, (left + up) >> 1, nearest][filter]!;
    });
    rows.push(Buffer.from([filter]), Buffer.from(told));
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2], 8);
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(Buffer.concat(rows))),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

async function upload(body: Buffer): Promise<string> {
  const answer = await edge.request(host, '/images', { method: 'POST', body });
  assert.equal(answer.status, 202, answer.text);
  return answer.json().id;
}
const status = async (id: string) => (await edge.request(host, `/images/${id}`)).json();
const ended = (id: string) =>
  eventually(async () => {
    const now = await status(id);
    return now.state !== 'waiting' && now;
  });

it('a PNG gets a thumbnail of the same colours', async () => {
  const id = await upload(png(200, 100));
  assert.deepEqual(await ended(id), { state: 'done', format: 'png', width: 200, height: 100, thumbnail: true });
  const { bytes, headers } = await edge.request(host, `/images/${id}/thumbnail`);
  assert.equal(headers['content-type'], 'image/png');
  assert.deepEqual([bytes.readUInt32BE(16), bytes.readUInt32BE(20)], [64, 32]);
  const start = bytes.indexOf('IDAT') + 4;
  const rows = inflateSync(bytes.subarray(start, start + bytes.readUInt32BE(start - 8)));
  const pixel = (x: number, y: number) => [...rows.subarray(y * 257 + 1 + x * 4, y * 257 + 5 + x * 4)];
  for (const y of [0, 15, 31])
    assert.deepEqual(
      [pixel(0, y), pixel(63, y)],
      [
        [255, 0, 0, 255],
        [0, 0, 255, 255],
      ],
    );
});

it('a JPEG tells its size', async () => {
  const jpeg = Buffer.from('ffd8ffe000104a46494600010100000100010000ffc0000b080123045601011100ffd9', 'hex');
  assert.deepEqual(await ended(await upload(jpeg)), {
    state: 'done',
    format: 'jpeg',
    width: 0x456,
    height: 0x123,
    thumbnail: false,
  });
});

it('what is no picture fails three times, and is shown among the failures with its reason', async () => {
  const broken = png(10, 10);
  const ids = [await upload(Buffer.from('plain text')), await upload(broken.subarray(0, broken.length - 30))];
  const ends = await Promise.all(ids.map(ended));
  assert.deepEqual(
    ends.map(({ state, attempts }) => [state, attempts]),
    [
      ['failed', 3],
      ['failed', 3],
    ],
  );
  assert.deepEqual(
    ends.map(({ error }) => error),
    ['neither PNG nor JPEG', 'the PNG breaks off'],
  );
  const shown = (await edge.request(host, '/failed')).json() as { id: string }[];
  assert.deepEqual(new Set(shown.map(({ id }) => id)), new Set(ids));
});

it('twenty uploads at once all come out', async () => {
  const ids = await Promise.all(Array.from({ length: 20 }, (_, i) => upload(png(20 + i, 20))));
  const ends = await Promise.all(ids.map(ended));
  assert.deepEqual(
    ends.map(({ width }) => width),
    ids.map((_, i) => 20 + i),
  );
});
