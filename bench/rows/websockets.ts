import { startEdge } from '../../test/harness.ts';
import type { RoundTrips } from '../clients/websockets.ts';
import { interleaved, put, type Row, workerdAlone } from '../lib.ts';
import { client } from '../programs.ts';

const CONNECTIONS = 500;
const SECONDS = 4;
const GOAL = 0.7;
const ECHO = `export default {
  fetch(request) {
    if (request.headers.get('upgrade') !== 'websocket') return new Response('ready');
    const [theirs, ours] = Object.values(new WebSocketPair());
    ours.accept();
    ours.addEventListener('message', ({ data }) => ours.send(data));
    return new Response(null, { status: 101, webSocket: theirs });
  },
};`;

export const row: Row = {
  what: `WebSocket echo round trips/s, ${CONNECTIONS} connections, 1 instance`,
  against: 'workerd alone on a TCP port',
  goal: `>= ${GOAL}x`,
  async run() {
    const edge = await startEdge({ args: ['--max-instances', '1'] });
    const alone = await workerdAlone(ECHO);
    const through = (port: number, host: string) => async () =>
      (await client<RoundTrips>('websockets', { port, host, connections: CONNECTIONS, seconds: SECONDS })).perSecond;
    try {
      await put(edge, 'echo', ECHO);
      const ours = through(edge.http, edge.host('echo'));
      const direct = through(alone.port, 'localhost');
      await ours();
      await direct();
      const { a, b, ratio } = await interleaved(5, ours, direct);
      return {
        measured: `${ratio.toFixed(2)}x`,
        detail: `${a.toFixed(0)} and ${b.toFixed(0)} round trips/s, one client process`,
        met: ratio >= GOAL,
      };
    } finally {
      alone.stop();
      await edge.close();
    }
  },
};
