/** What the rows against nginx share: one edge process and one nginx process before the very same isolate process. */
import { type Edge, startEdge } from '../test/harness.ts';
import { edgePids, interleaved, put, type Row } from './lib.ts';
import { type Nginx, nginxBefore, upstreamOf } from './nginx.ts';
import { cpuSeconds } from './programs.ts';

export interface Proxies {
  edge: Edge;
  /** Host name of the Worker. */
  host: string;
  edgePid: number;
  nginx: Nginx;
}

/** Puts up a Worker behind both, runs `measure`, and stops them. */
export async function beforeTheSameWorker<T>(source: string, measure: (proxies: Proxies) => Promise<T>): Promise<T> {
  const edge = await startEdge({ args: ['--max-instances', '1', '--edges', '1'] });
  try {
    const host = edge.host('bench');
    await put(edge, 'bench', source);
    const nginx = await nginxBefore(await upstreamOf(edge, 'bench'), edge, host);
    try {
      const [edgePid] = await edgePids(edge);
      return await measure({ edge, host, edgePid: edgePid!, nginx });
    } finally {
      await nginx.stop();
    }
  } finally {
    await edge.close();
  }
}

/**
 * Requests per second of the proxy's own processor time under `load`, edge against nginx, in turns. `load` tells how many requests were
 * answered and how many a second.
 */
export async function efficiency(
  { edge, edgePid, nginx }: Proxies,
  goal: number,
  load: (ports: { http: number; https: number }) => Promise<{ requests: number; perSecond: number }>,
): Promise<Awaited<ReturnType<Row['run']>>> {
  const perSecond = { edge: 0, nginx: 0 };
  const side = (name: 'edge' | 'nginx', ports: { http: number; https: number }, pid: number) => async () => {
    const before = cpuSeconds([pid]);
    const answered = await load(ports);
    perSecond[name] = answered.perSecond;
    return answered.requests / (cpuSeconds([pid]) - before);
  };
  const ours = side('edge', edge, edgePid);
  const theirs = side('nginx', nginx, nginx.worker);
  await ours();
  await theirs();
  const { a, b, ratio } = await interleaved(5, ours, theirs);
  return {
    measured: `${ratio.toFixed(2)}x`,
    detail: `${a.toFixed(0)} and ${b.toFixed(0)} requests per CPU-second; in all ${perSecond.edge.toFixed(0)} and ${perSecond.nginx.toFixed(0)} requests/s`,
    met: ratio >= goal,
  };
}
