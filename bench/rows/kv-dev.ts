import { startEdge } from '../../test/harness.ts';
import { kvNamespace, READS_HOT_KEY } from '../kv.ts';
import { answering, freePort, interleaved, put, type Row, stopped, throughput } from '../lib.ts';

export const row: Row = {
  what: 'the same',
  against: 'the same Worker in `wrangler dev`',
  goal: '>= 10x',
  needs: ['wrk'],
  async run() {
    const edge = await startEdge({ args: ['--max-instances', '1'] });
    const port = await freePort();
    const cwd = await edge.project(
      {
        name: 'hot',
        main: 'index.js',
        compatibility_date: '2026-10-01',
        kv_namespaces: [{ binding: 'KV', id: '0'.repeat(32) }],
      },
      { 'index.js': READS_HOT_KEY },
    );
    const dev = edge.wranglerProcess(['dev', '--port', String(port), '--ip', '127.0.0.1'], { cwd });
    dev.stdout!.resume();
    dev.stderr!.resume();
    try {
      await put(edge, 'hot', READS_HOT_KEY, { bindings: [await kvNamespace(edge)] });
      await answering(port);
      await throughput(edge.http, edge.host('hot'));
      const { a, b, ratio } = await interleaved(
        3,
        () => throughput(edge.http, edge.host('hot')),
        () => throughput(port, 'localhost'),
      );
      return {
        measured: `${ratio.toFixed(1)}x`,
        detail: `${a.toFixed(0)} and ${b.toFixed(0)} requests/s`,
        met: ratio >= 10,
      };
    } finally {
      await stopped(dev);
      await edge.close();
    }
  },
};
