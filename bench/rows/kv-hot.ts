import { startEdge } from '../../test/harness.ts';
import { kvNamespace, READS_HOT_KEY } from '../kv.ts';
import { HELLO, interleaved, put, type Row, throughput } from '../lib.ts';

export const row: Row = {
  what: 'Worker that reads one hot KV key, requests/s',
  against: 'the same Worker without the read',
  goal: '>= 0.8x',
  needs: ['wrk'],
  async run() {
    const edge = await startEdge({ args: ['--max-instances', '1', '--edges', '1'] });
    try {
      await put(edge, 'hot', READS_HOT_KEY, { bindings: [await kvNamespace(edge)] });
      await put(edge, 'hello', HELLO);
      const of = (name: string) => () => throughput(edge.http, edge.host(name));
      await of('hot')();
      const { a, b, ratio } = await interleaved(5, of('hot'), of('hello'));
      return {
        measured: `${ratio.toFixed(2)}x`,
        detail: `${a.toFixed(0)} and ${b.toFixed(0)} requests/s`,
        met: ratio >= 0.8,
      };
    } finally {
      await edge.close();
    }
  },
};
