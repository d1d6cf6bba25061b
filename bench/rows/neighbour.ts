import { Agent } from 'node:http';
import { startEdge } from '../../test/harness.ts';
import { ask, HELLO, interleaved, percentile, put, type Row } from '../lib.ts';

const SECONDS = 4;
const CLIENTS = 4;
const PAUSE_MS = 4;

export const row: Row = {
  what: 'p99 of a good Worker while another loops forever',
  against: 'alone',
  goal: '<= 2x',
  async run() {
    const edge = await startEdge();
    try {
      await put(edge, 'good', HELLO);
      await put(
        edge,
        'bad',
        'export default { fetch(r) { if (r.url.endsWith("/loop")) for (;;); return new Response() } }',
        { limits: { cpu_ms: 1000 } },
      );
      const p99 = async () => {
        const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
        const times: number[] = [];
        const end = Date.now() + SECONDS * 1000;
        await Promise.all(
          Array.from({ length: CLIENTS }, async () => {
            while (Date.now() < end) {
              times.push((await ask(edge.http, edge.host('good'), agent)).ms);
              await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
            }
          }),
        );
        agent.destroy();
        return percentile(times, 0.99);
      };
      const beside = async () => {
        let looping = true;
        // Each time the watchdog ends the loop, the next one begins.
        const loop = (async () => {
          while (looping) await edge.request(edge.host('bad'), '/loop');
        })();
        const value = await p99();
        looping = false;
        await loop;
        return value;
      };
      await p99();
      const { a, b, ratio } = await interleaved(5, beside, p99);
      return { measured: `${ratio.toFixed(2)}x`, detail: `${a.toFixed(2)} ms and ${b.toFixed(2)} ms`, met: ratio <= 2 };
    } finally {
      await edge.close();
    }
  },
};
