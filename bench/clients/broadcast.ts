/** Opens WebSockets to one room; the first one says something again as soon as all have heard it. Answers with messages delivered per second. */
import { WebSocket } from 'ws';

interface Task {
  port: number;
  host: string;
  connections: number;
  seconds: number;
}

export interface Deliveries {
  perSecond: number;
}

const { port, host, connections, seconds } = JSON.parse(process.argv[2]!) as Task;
/** Opened at the same time. */
const OPENERS = 20;
let heard = 0;
let round = 0;

function open(): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/`, { headers: { host }, perMessageDeflate: false });
    socket.on('message', () => {
      heard++;
      if (++round < connections) return;
      round = 0;
      sockets[0]!.send('a message of thirty-two letters.');
    });
    socket.on('error', reject);
    socket.on('close', () => {
      console.error('a WebSocket was closed');
      process.exit(1);
    });
    socket.on('open', () => resolve(socket));
  });
}

const sockets: WebSocket[] = [];
await Promise.all(
  Array.from({ length: OPENERS }, async () => {
    for (let i = 0; i < connections / OPENERS; i++) sockets.push(await open());
  }),
);
sockets[0]!.send('a message of thirty-two letters.');
await new Promise((resolve) => setTimeout(resolve, 1_000));
const before = heard;
const begun = performance.now();
await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
process.send!({ perSecond: ((heard - before) * 1000) / (performance.now() - begun) } satisfies Deliveries);
