import { startEdge } from '../../test/harness.ts';
import type { Latencies } from '../clients/paced.ts';
import { HELLO, median, put, type Row, workerdAlone } from '../lib.ts';
import { client } from '../programs.ts';

const CONNECTIONS = 16;
const RATE = 1600;
const SECONDS = 4;
const ROUNDS = 5;
const GOAL_MS = { p50: 0.4, p99: 3 };

export const row: Row = {
  what: `added latency at ${CONNECTIONS} connections, p50 / p99, ${RATE} requests/s in all, evenly paced`,
  against: 'workerd alone on a TCP port',
  goal: `<= ${GOAL_MS.p50} ms / <= ${GOAL_MS.p99} ms`,
  async run() {
    const edge = await startEdge();
    const alone = await workerdAlone(HELLO);
    const measure = async (port: number, host: string) => {
      const latencies = await client<Latencies>('paced', {
        port,
        host,
        connections: CONNECTIONS,
        rate: RATE,
        seconds: SECONDS,
      });
      if (latencies.failed > 0) throw new Error(`${latencies.failed} requests failed`);
      return latencies;
    };
    try {
      await put(edge, 'hello', HELLO);
      await measure(edge.http, edge.host('hello'));
      await measure(alone.port, 'localhost');
      const through: Latencies[] = [];
      const direct: Latencies[] = [];
      for (let i = 0; i < ROUNDS; i++) {
        through.push(await measure(edge.http, edge.host('hello')));
        direct.push(await measure(alone.port, 'localhost'));
      }
      const added = (share: 'p50' | 'p99') => median(through.map((each, i) => each[share] - direct[i]![share]));
      const both = (share: 'p50' | 'p99') =>
        [through, direct].map((side) => median(side.map((each) => each[share])).toFixed(2)).join(' and ');
      return {
        measured: `${added('p50').toFixed(2)} ms / ${added('p99').toFixed(2)} ms`,
        detail: `p50 ${both('p50')} ms, p99 ${both('p99')} ms`,
        met: added('p50') <= GOAL_MS.p50 && added('p99') <= GOAL_MS.p99,
      };
    } finally {
      alone.stop();
      await edge.close();
    }
  },
};
