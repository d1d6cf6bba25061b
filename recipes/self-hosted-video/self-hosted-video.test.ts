import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { browse } from '../../test/browser.ts';
import { startEdge } from '../../test/harness.ts';

const edge = await startEdge();
after(() => edge.close());
const cwd = import.meta.dirname;
await edge.deployed(['deploy'], { cwd });
await edge.deployed(['secret', 'put', 'UPLOAD_TOKEN'], { cwd, input: 'secret' });
const host = edge.host('self-hosted-video');
const headers = { authorization: 'Bearer secret', 'content-type': 'audio/wav' };

/** Two minutes of a tone that rises, as players take it everywhere: 8,000 samples a second, 16 bits. */
function sound(seconds: number): Buffer {
  const rate = 8000;
  const data = Buffer.alloc(seconds * rate * 2);
  for (let i = 0; i < seconds * rate; i++) data.writeInt16LE(Math.round(8000 * Math.sin((i * i) / 4e8)), i * 2);
  const head = Buffer.alloc(44);
  head.write('RIFF', 0, 'latin1');
  head.writeUInt32LE(data.length + 36, 4);
  head.write('WAVEfmt ', 8, 'latin1');
  head.writeUInt32LE(16, 16);
  // PCM, one channel.
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(rate, 24);
  head.writeUInt32LE(rate * 2, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write('data', 36, 'latin1');
  head.writeUInt32LE(data.length, 40);
  return Buffer.concat([head, data]);
}

const tone = sound(120);

it('takes films from whoever has the token, and nobody else', async () => {
  const put = (path: string, over: Record<string, string> = {}) =>
    edge.request(host, path, { method: 'PUT', headers: { ...headers, ...over }, body: tone });
  assert.equal((await put('/films/tone.wav', { authorization: 'Bearer wrong' })).status, 401);
  assert.equal((await put('/films/tone.wav', { 'content-type': 'text/html' })).status, 415);
  const answer = await put('/films/tone.wav');
  assert.deepEqual([answer.status, answer.json().size], [201, tone.length]);
  assert.match((await edge.request(host, '/')).text, /tone\.wav/);
});

it('answers ranges, and says when nothing has changed', async () => {
  const whole = await edge.request(host, '/films/tone.wav');
  assert.deepEqual([whole.status, whole.headers['content-type'], whole.bytes.equals(tone)], [200, 'audio/wav', true]);
  const part = await edge.request(host, '/films/tone.wav', { headers: { range: 'bytes=1000000-1000099' } });
  assert.deepEqual([part.status, part.headers['content-range']], [206, `bytes 1000000-1000099/${tone.length}`]);
  assert.ok(part.bytes.equals(tone.subarray(1_000_000, 1_000_100)));
  const again = { 'if-none-match': whole.headers.etag! };
  assert.equal((await edge.request(host, '/films/tone.wav', { headers: again })).status, 304);
  assert.equal((await edge.request(host, '/films/absent.wav')).status, 404);
});

it('is played by the browser’s video element, which jumps to the end without loading what is before', async (t) => {
  const ranges: string[] = [];
  await browse(t, `http://${host}:${edge.http}/watch/tone.wav`, async (page) => {
    page.on('request', (request) => {
      if (request.url().includes('/films/')) ranges.push(request.headers().range ?? '');
    });
    await page.reload();
    const video = page.locator('video');
    const duration = await video.evaluate(
      (element: any) =>
        new Promise<number>((resolve, reject) => {
          element.onerror = () => reject(new Error(element.error.message));
          if (element.duration) resolve(element.duration);
          else element.onloadedmetadata = () => resolve(element.duration);
        }),
    );
    assert.equal(Math.round(duration), 120);
    const at = await video.evaluate(
      (element: any) =>
        new Promise<number>((resolve) => {
          element.onseeked = () => resolve(element.currentTime);
          element.currentTime = 115;
        }),
    );
    assert.equal(at, 115);
    const played = await video.evaluate(async (element: any) => {
      element.muted = true;
      await element.play();
      await new Promise((resolve) => {
        element.ontimeupdate = () => element.currentTime > 115.2 && resolve(null);
      });
      return element.currentTime;
    });
    assert.ok(played > 115.2);
  });
  assert.ok(
    ranges.some((range) => Number(/^bytes=(\d+)-/.exec(range)?.[1]) > tone.length / 2),
    ranges.join('; '),
  );
});

it('plays moving pictures: a film that the page itself has recorded', async (t) => {
  await browse(t, `http://${host}:${edge.http}/`, async (page) => {
    const status = await page.evaluate(async () => {
      const global = globalThis as any;
      const canvas = global.document.createElement('canvas');
      canvas.width = 160;
      canvas.height = 120;
      const pen = canvas.getContext('2d');
      const recorder = new global.MediaRecorder(canvas.captureStream(20), { mimeType: 'video/webm;codecs=vp8' });
      const pieces: unknown[] = [];
      recorder.ondataavailable = (event: any) => pieces.push(event.data);
      recorder.start();
      for (let i = 0; i < 20; i++) {
        pen.fillStyle = `hsl(${i * 18} 100% 50%)`;
        pen.fillRect(0, 0, 160, 120);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      await new Promise((resolve) => {
        recorder.onstop = resolve;
        recorder.stop();
      });
      const body = new Blob(pieces as never, { type: 'video/webm' });
      const uploaded = await fetch('/films/colours.webm', {
        method: 'PUT',
        body,
        headers: { authorization: 'Bearer secret', 'content-type': 'video/webm' },
      });
      return uploaded.status;
    });
    assert.equal(status, 201);
    await page.goto(`http://${host}:${edge.http}/watch/colours.webm`);
    const size = await page.locator('video').evaluate(async (element: any) => {
      element.muted = true;
      await element.play();
      await new Promise((resolve) => {
        element.ontimeupdate = () => element.currentTime > 0.2 && resolve(null);
      });
      return [element.videoWidth, element.videoHeight];
    });
    assert.deepEqual(size, [160, 120]);
  });
});
