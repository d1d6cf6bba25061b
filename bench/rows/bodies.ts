import type { Transferred } from '../clients/transfer.ts';
import { interleaved, type Row } from '../lib.ts';
import { client } from '../programs.ts';
import { beforeTheSameWorker } from '../proxies.ts';

const BYTES = 100 * 1000 * 1000;
const ROUNDS = 7;
const GOAL = 0.7;

/** The runtime does most of the work itself; what JavaScript has to do it does in large pieces. */
const SOURCE = `
const PIECE = new Uint8Array(1e6);
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === '/down') {
      let left = ${BYTES} / PIECE.length;
      return new Response(new ReadableStream({
        pull(controller) {
          if (left-- > 0) controller.enqueue(PIECE);
          else controller.close();
        },
      }));
    }
    const reader = request.body.getReader({ mode: 'byob' });
    let read = 0;
    for (let buffer = new ArrayBuffer(262144); ;) {
      const { done, value } = await reader.read(new Uint8Array(buffer));
      if (done) return new Response('read ' + read);
      read += value.byteLength;
      buffer = value.buffer;
    }
  },
};`;

const WAYS = {
  up: { path: '/up', up: BYTES },
  down: { path: '/down', up: 0 },
};

export const row: Row = {
  what: '100 MB up and 100 MB down through a Worker, bytes/s, the worse of the two',
  against: 'nginx before the same workerd',
  goal: `>= ${GOAL}x`,
  needs: ['nginx'],
  run() {
    return beforeTheSameWorker(SOURCE, async ({ edge, host, nginx }) => {
      const ratios: number[] = [];
      const details: string[] = [];
      for (const [name, { path, up }] of Object.entries(WAYS)) {
        const through = (port: number) => async () => {
          const { ms, bytes, head, tail } = await client<Transferred>('transfer', { port, host, path, up });
          const whole = name === 'up' ? tail.endsWith(`read ${BYTES}`) : bytes > BYTES;
          if (!head.startsWith('HTTP/1.1 200 ') || !whole)
            throw new Error(`the body did not come through: ${bytes} bytes, ${head.slice(0, 500)}`);
          return BYTES / 1e6 / (ms / 1000);
        };
        const ours = through(edge.http);
        const theirs = through(nginx.http);
        await ours();
        await theirs();
        const { a, b, ratio } = await interleaved(ROUNDS, ours, theirs);
        ratios.push(ratio);
        details.push(`${name} ${ratio.toFixed(2)}x: ${a.toFixed(0)} and ${b.toFixed(0)} MB/s`);
      }
      const worst = Math.min(...ratios);
      return { measured: `${worst.toFixed(2)}x`, detail: details.join('; '), met: worst >= GOAL };
    });
  },
};
