import { startEdge } from '../../test/harness.ts';
import { ask, median, put, type Row } from '../lib.ts';

export const row: Row = {
  what: 'deploy acknowledged -> first answer of the new version, median',
  against: '-',
  goal: '<= 200 ms',
  async run() {
    const edge = await startEdge();
    try {
      const times: number[] = [];
      const deploys: number[] = [];
      for (let n = 0; n < 20; n++) {
        const began = performance.now();
        await put(edge, 'hello', `export default { fetch() { return new Response("${n}") } }`);
        const acknowledged = performance.now();
        while ((await ask(edge.http, edge.host('hello'))).text !== String(n));
        times.push(performance.now() - acknowledged);
        deploys.push(acknowledged - began);
      }
      const ms = median(times);
      const detail = `at most ${Math.max(...times).toFixed(1)} ms of 20; the deploy call itself ${median(deploys.slice(1)).toFixed(0)} ms`;
      return { measured: `${ms.toFixed(1)} ms`, detail, met: ms <= 200 };
    } finally {
      await edge.close();
    }
  },
};
