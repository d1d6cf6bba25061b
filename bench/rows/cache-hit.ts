import { startEdge } from '../../test/harness.ts';
import { interleaved, put, type Row, throughput } from '../lib.ts';

const BODY = 'x'.repeat(1000);
const HIT = `export default { async fetch(request) {
  const found = await caches.default.match('https://cached.example/');
  if (found) return found;
  await caches.default.put('https://cached.example/', new Response('${BODY}', { headers: { 'cache-control': 'max-age=3600' } }));
  return new Response('stored');
} }`;
const MEMORY = `const body = '${BODY}'; export default { fetch: () => new Response(body) }`;

export const row: Row = {
  what: 'Cache API hit of 1 KB, requests/s',
  against: 'a Worker that answers the same from its memory',
  goal: '>= 0.6x',
  needs: ['wrk'],
  async run() {
    const edge = await startEdge({ args: ['--max-instances', '1', '--edges', '1'] });
    try {
      await put(edge, 'hit', HIT, { limits: { subrequests: 10_000 } });
      await put(edge, 'memory', MEMORY);
      const of = (name: string) => () => throughput(edge.http, edge.host(name));
      await of('hit')();
      const { a, b, ratio } = await interleaved(4, of('hit'), of('memory'));
      return {
        measured: `${ratio.toFixed(2)}x`,
        detail: `${a.toFixed(0)} and ${b.toFixed(0)} requests/s`,
        met: ratio >= 0.6,
      };
    } finally {
      await edge.close();
    }
  },
};
