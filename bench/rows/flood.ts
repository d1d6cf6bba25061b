import { startEdge } from '../../test/harness.ts';
import type { Begun } from '../clients/flood.ts';
import type { Latencies } from '../clients/paced.ts';
import { HELLO, median, put, type Row } from '../lib.ts';
import { Client, client } from '../programs.ts';

const SECONDS = 20;
const ROUNDS = 3;
const FLOODS = 2;
const CONNECTIONS = 16;
const RATE = 400;
/** The flood comes from elsewhere in real life: it must not take the processor from those who measure. */
const NICE = 10;
const GOAL = 3;

export const row: Row = {
  what: `p99 of good requests (${RATE}/s) beside a flood of malformed and abusive ones from ${FLOODS} processes, ${SECONDS} s`,
  against: 'without the flood',
  goal: `<= ${GOAL}x`,
  async run() {
    const edge = await startEdge();
    const host = edge.host('good');
    const good = async () => {
      const task = { port: edge.http, host, connections: CONNECTIONS, rate: RATE, seconds: SECONDS };
      const latencies = await client<Latencies>('paced', task);
      if (latencies.failed > 0) throw new Error(`${latencies.failed} good requests failed`);
      return latencies;
    };
    let abusive = 0;
    const beside = async () => {
      const floods = Array.from(
        { length: FLOODS },
        (_, i) => new Client('flood', { http: edge.http, https: edge.https, host, firstAddress: 1 + 20 * i }, NICE),
      );
      try {
        const latencies = await good();
        for (const flood of floods) {
          const begun = await flood.ask<Begun>();
          abusive += Object.values(begun).reduce((sum, count) => sum + count, 0);
        }
        return latencies;
      } finally {
        await Promise.all(floods.map((flood) => flood.stop()));
      }
    };
    try {
      await put(edge, 'good', HELLO);
      await edge.tls(host);
      await good();
      const flooded: Latencies[] = [];
      const calm: Latencies[] = [];
      for (let i = 0; i < ROUNDS; i++) {
        flooded.push(await beside());
        calm.push(await good());
      }
      const ratio = median(flooded.map(({ p99 }, i) => p99 / calm[i]!.p99));
      const both = (share: 'p50' | 'p99') =>
        [flooded, calm].map((side) => `${median(side.map((each) => each[share])).toFixed(2)} ms`).join(' and ');
      return {
        measured: `${ratio.toFixed(2)}x`,
        detail: `p99 ${both('p99')}, p50 ${both('p50')}; ${(abusive / ROUNDS / SECONDS).toFixed(0)} abusive requests/s, none of the good ones failed`,
        met: ratio <= GOAL,
      };
    } finally {
      await edge.close();
    }
  },
};
