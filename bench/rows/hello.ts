import { type Edge, startEdge } from '../../test/harness.ts';
import { HELLO, interleaved, put, type Row, throughput, workerdAlone } from '../lib.ts';

export const row: Row = {
  what: 'hello world through the edge, 1 instance, requests/s',
  against: 'workerd alone on a TCP port',
  goal: '>= 0.75x',
  needs: ['wrk'],
  async run() {
    const one = await startEdge({ args: ['--max-instances', '1', '--edges', '1'] });
    const usual = await startEdge({ args: ['--max-instances', '1'] });
    const alone = await workerdAlone(HELLO);
    const through = (edge: Edge) => throughput(edge.http, edge.host('hello'));
    try {
      for (const edge of [one, usual]) {
        await put(edge, 'hello', HELLO);
        through(edge);
      }
      const withOne = await interleaved(
        5,
        () => through(one),
        () => throughput(alone.port, 'localhost'),
      );
      const withAll = await interleaved(
        3,
        () => through(usual),
        () => throughput(alone.port, 'localhost'),
      );
      return {
        measured: `${withOne.ratio.toFixed(2)}x`,
        detail: `one edge process, ${withOne.a.toFixed(0)} and ${withOne.b.toFixed(0)} requests/s; ${withAll.ratio.toFixed(2)}x with one per core, where the load generator shares the cores with all of them`,
        met: withOne.ratio >= 0.75,
      };
    } finally {
      alone.stop();
      await one.close();
      await usual.close();
    }
  },
};
