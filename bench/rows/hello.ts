import { startEdge } from '../../test/harness.ts';
import { HELLO, interleaved, put, type Row, throughput, workerdAlone } from '../lib.ts';

export const row: Row = {
  what: 'hello world through the edge, 1 instance, requests/s',
  against: 'workerd alone on a TCP port',
  goal: '>= 0.75x',
  async run() {
    const edge = await startEdge({ args: ['--max-instances', '1'] });
    const alone = await workerdAlone(HELLO);
    try {
      await put(edge, 'hello', HELLO);
      throughput(edge.http, edge.host('hello'));
      const { a, b, ratio } = await interleaved(
        5,
        () => throughput(edge.http, edge.host('hello')),
        () => throughput(alone.port, 'localhost'),
      );
      return {
        measured: `${ratio.toFixed(2)}x`,
        detail: `${a.toFixed(0)} and ${b.toFixed(0)} requests/s`,
        met: ratio >= 0.75,
      };
    } finally {
      alone.stop();
      await edge.close();
    }
  },
};
