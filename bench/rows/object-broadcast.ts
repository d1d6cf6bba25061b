import { startEdge } from '../../test/harness.ts';
import type { Deliveries } from '../clients/broadcast.ts';
import { interleaved, put, type Row, workerdWithObject } from '../lib.ts';
import { client } from '../programs.ts';

const CONNECTIONS = 500;
const SECONDS = 4;
const SOURCE = `import { DurableObject } from 'cloudflare:workers';
export class Room extends DurableObject {
  fetch() {
    const [client, server] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }
  webSocketMessage(_, text) { for (const socket of this.ctx.getWebSockets()) socket.send(text); }
}
export default { fetch(request, env) {
  if (request.headers.get('upgrade') !== 'websocket') return new Response('ready');
  return env.ROOM.getByName('one').fetch(request);
} }`;

export const row: Row = {
  what: `WebSocket broadcast, 1 object, ${CONNECTIONS} clients, messages delivered/s`,
  against: 'workerd alone on a TCP port',
  goal: '>= 0.8x',
  async run() {
    const edge = await startEdge({ args: ['--edges', '1'] });
    const alone = await workerdWithObject(SOURCE, 'ROOM', 'Room');
    const through = (port: number, host: string) => async () =>
      (await client<Deliveries>('broadcast', { port, host, connections: CONNECTIONS, seconds: SECONDS })).perSecond;
    try {
      await put(edge, 'room', SOURCE, {
        bindings: [{ type: 'durable_object_namespace', name: 'ROOM', class_name: 'Room' }],
        migrations: { new_tag: 'v1', steps: [{ new_sqlite_classes: ['Room'] }] },
      });
      const ours = through(edge.http, edge.host('room'));
      const direct = through(alone.port, 'localhost');
      await ours();
      const { a, b, ratio } = await interleaved(4, ours, direct);
      return {
        measured: `${ratio.toFixed(2)}x`,
        detail: `${a.toFixed(0)} and ${b.toFixed(0)} messages/s, one client process`,
        met: ratio >= 0.8,
      };
    } finally {
      alone.stop();
      await edge.close();
    }
  },
};
