/** Opens WebSockets, sends a message on each and the next when its echo is there, and answers with the round trips per second. */
import { WebSocket } from 'ws';

interface Task {
  port: number;
  host: string;
  connections: number;
  seconds: number;
}

export interface RoundTrips {
  perSecond: number;
}

const { port, host, connections, seconds } = JSON.parse(process.argv[2]!) as Task;
const MESSAGE = 'a message of thirty-two letters.';
/** Opened at the same time. */
const OPENERS = 20;
let echoes = 0;

function open(): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/`, { headers: { host }, perMessageDeflate: false });
    socket.on('message', (data) => {
      if (String(data) !== MESSAGE) fail(`an echo is "${data}"`);
      echoes++;
      socket.send(MESSAGE);
    });
    socket.on('error', reject);
    socket.on('close', () => fail('a WebSocket was closed'));
    socket.on('open', () => resolve(socket));
  });
}

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

const sockets: WebSocket[] = [];
await Promise.all(
  Array.from({ length: OPENERS }, async () => {
    for (let i = 0; i < connections / OPENERS; i++) sockets.push(await open());
  }),
);
for (const socket of sockets) socket.send(MESSAGE);
await new Promise((resolve) => setTimeout(resolve, 1_000));
const before = echoes;
const begun = performance.now();
await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
process.send!({ perSecond: ((echoes - before) * 1000) / (performance.now() - begun) } satisfies RoundTrips);
