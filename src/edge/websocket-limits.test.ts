import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { testSettings } from '../config/testing.ts';
import { closeFrame, FrameWalker } from './frames.ts';
import { HOST, openBench, until, versionId } from './testing.ts';

const WORKER = `export default { fetch(request) {
  const [client, server] = Object.values(new WebSocketPair());
  server.binaryType = 'arraybuffer';
  server.accept();
  server.addEventListener('message', ({ data }) => {
    if (typeof data === 'string' && data.startsWith('close ')) return server.close(Number(data.slice(6)), 'as you said');
    if (data === 'many') { for (let i = 0; i < 200; i++) server.send(new Uint8Array(65536)); return; }
    server.send(data);
  });
  server.addEventListener('close', ({ code, reason }) => { closes.push(code + ' ' + reason); });
  if (new URL(request.url).pathname === '/closes') return Response.json(closes);
  return new Response(null, { status: 101, webSocket: client });
} };
const closes = [];`;

const limits = {
  ...testSettings('/').limits,
  websocketMessageBytes: 100_000,
  websocketPingMs: 150,
  websocketIdleMs: 600,
};
const bench = await openBench({ limits });
after(() => bench.close());
const id = await bench.start(WORKER);
bench.script('shop', { [versionId(1)]: 100 });
bench.isolates(versionId(1), [id]);

async function dial(options: object = {}): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${bench.httpPort}/`, {
    headers: { host: HOST },
    // Compressed messages are bounded by their size on the wire.
    perMessageDeflate: false,
    ...options,
  });
  await once(socket, 'open');
  return socket;
}

const closed = async (socket: WebSocket) => (await once(socket, 'close'))[0] as number;

describe('a WebSocket', () => {
  it('passes messages of any allowed size both ways', async () => {
    const socket = await dial();
    for (const size of [0, 1, 125, 126, 65_535, 65_536, 100_000]) {
      socket.send(Buffer.alloc(size, 7));
      const [echo] = (await once(socket, 'message')) as [Buffer];
      assert.equal(echo.length, size);
    }
    socket.close();
    await closed(socket);
  });

  it('is closed with 1009 for a message that is too long, in one frame or in many', async () => {
    const whole = await dial();
    whole.send(Buffer.alloc(100_001));
    assert.equal(await closed(whole), 1009);
    const pieces = await dial();
    for (let i = 0; i < 3; i++) pieces.send(Buffer.alloc(40_000), { fin: i === 2 });
    assert.equal(await closed(pieces), 1009);
    assert.equal(bench.edge.hits.take().websocket_message_bytes, 2);
  });

  it('passes close codes both ways', async () => {
    const byWorker = await dial();
    byWorker.send('close 4321');
    const [code, why] = await once(byWorker, 'close');
    assert.deepEqual([code, String(why)], [4321, 'as you said']);
    const byClient = await dial();
    byClient.close(4567, 'bye');
    assert.equal(await closed(byClient), 4567);
    await until(() => bench.edge.webSockets.open === 0, 'all are gone');
    const socket = connect(bench.httpPort, '127.0.0.1');
    socket.write(`GET /closes HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`);
    let text = '';
    for await (const chunk of socket.setEncoding('utf8')) text += chunk;
    assert.match(text, /4567 bye/);
  });

  it('is pinged while it is silent, and stays open as long as it answers', async () => {
    const socket = await dial();
    let pings = 0;
    socket.on('ping', () => pings++);
    await until(() => pings >= 6, 'it is pinged for longer than it may be silent');
    socket.send('still here');
    assert.equal(String((await once(socket, 'message'))[0]), 'still here');
    socket.close();
    await closed(socket);
  });

  it('is closed when its client does not answer pings', async () => {
    const socket = await dial({ autoPong: false });
    assert.equal(await closed(socket), 1001);
    assert.equal(bench.edge.hits.take().websocket_idle_ms, 1);
  });

  it('gives a client its bytes at its own pace, with pings only between frames', async () => {
    const socket = await dial();
    let pings = 0;
    let messages = 0;
    socket.on('ping', () => pings++);
    socket.on('message', (data: Buffer) => {
      assert.equal(data.length, 65_536);
      messages++;
    });
    socket.send('many');
    socket.pause();
    await new Promise((resolve) => setTimeout(resolve, 400));
    socket.resume();
    await until(() => messages === 200, 'all has come');
    socket.terminate();
  });
});

describe('the walk over frames', () => {
  const frame = (first: number, length: number, masked: boolean) => {
    const head = length < 126 ? [first, length] : [first, 126, length >> 8, length & 255];
    if (masked) head[1]! |= 0x80;
    return Buffer.concat([Buffer.from([...head, ...(masked ? [1, 2, 3, 4] : [])]), Buffer.alloc(length)]);
  };
  const frames = [
    frame(0x82, 5, true),
    frame(0x02, 300, true),
    frame(0x89, 3, true),
    frame(0x80, 200, true),
    closeFrame(1000, true),
  ];
  const stream = Buffer.concat(frames);

  it('finds the same boundaries however the bytes are cut', () => {
    const ends = new Set<number>([0]);
    let sum = 0;
    for (const { length } of frames) {
      sum += length;
      ends.add(sum);
    }
    for (let size = 1; size < 40; size++) {
      const walker = new FrameWalker(500);
      for (let at = 0; at < stream.length; at += size) {
        const chunk = stream.subarray(at, at + size);
        assert.equal(walker.push(chunk), chunk.length);
        assert.equal(walker.atBoundary, ends.has(at + chunk.length), `${size} ${at}`);
      }
      assert.equal(walker.error, null);
    }
  });

  it('stops before the frame that makes a message too long, and counts control frames apart', () => {
    const walker = new FrameWalker(499);
    assert.equal(walker.push(stream), frames[0]!.length + frames[1]!.length + frames[2]!.length);
    assert.equal(walker.error, 1009);
  });

  it('refuses long or fragmented control frames, and lengths that no message has', () => {
    for (const [bytes, error] of [
      [frame(0x89, 126, false), 1002],
      [frame(0x09, 3, false), 1002],
      [Buffer.from([0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0]), 1009],
    ] as const) {
      const walker = new FrameWalker(1e9);
      assert.equal(walker.push(bytes), 0);
      assert.equal(walker.error, error);
    }
  });
});
