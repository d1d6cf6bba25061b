import { type Edge, eventually, startEdge } from '../../test/harness.ts';
import { ask, HELLO, interleaved, isolates, put, type Row } from '../lib.ts';

/** A budget of 1 MB evicts every Worker as soon as it is idle; then the next request starts it. */
async function coldStart(edge: Edge): Promise<number> {
  await eventually(async () => !(await isolates(edge)).some(({ script }) => script === 'hello'));
  // The zygote that replaces the last one has to be there.
  await new Promise((resolve) => setTimeout(resolve, 300));
  const { status, ms } = await ask(edge.http, edge.host('hello'));
  if (status !== 200) throw new Error(`status ${status}`);
  return ms;
}

export const row: Row = {
  what: 'cold start: evicted Worker, request to first byte, median',
  against: 'start without zygote',
  goal: '<= 20 ms, and at least 30% less',
  async run() {
    const evicting = ['--isolate-memory', '1'];
    const edge = await startEdge({ args: [...evicting, '--zygotes', '2'] });
    const without = await startEdge({ args: [...evicting, '--zygotes', '0'] });
    try {
      for (const each of [edge, without]) await put(each, 'hello', HELLO);
      const { a, b, ratio } = await interleaved(
        15,
        () => coldStart(edge),
        () => coldStart(without),
      );
      const less = 1 - ratio;
      return {
        measured: `${a.toFixed(1)} ms, ${(less * 100).toFixed(0)}% less`,
        detail: `${b.toFixed(1)} ms without a zygote`,
        met: a <= 20 && less >= 0.3,
      };
    } finally {
      await edge.close();
      await without.close();
    }
  },
};
