/** The kinds of load of the soak test. Each is a loop that runs until it is told to stop and counts how its rounds ended. */
import { once } from 'node:events';
import { Agent, createServer, request } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { type AddressInfo, connect } from 'node:net';
import type { Edge } from '../harness.ts';

/** One round: throws if something is not as it has to be. */
export interface Kind {
  /** Rounds that run at the same time. */
  lanes: number;
  /** Pause after each round, ms. */
  pauseMs: number;
  round(number: number): Promise<void>;
  /** Rounds may fail: the Worker is being killed. */
  mayFail?: true;
}

export interface Count {
  done: number;
  failed: number;
  /** The first few failures. */
  errors: string[];
}

const ROUND_TIMEOUT_MS = 60_000;
const ERRORS_KEPT = 3;
const BODY = Buffer.alloc(4 * 1024 * 1024, 'soak');
const GREETING = 'Hello from the soak test';

const source = (body: string) => `export default { async fetch(request, env, ctx) { ${body} } };`;
export const WORKERS: Record<string, string> = {
  plain: source(`return new Response('${GREETING}');`),
  bodies: source("return request.method === 'POST' ? new Response(request.body) : new Response('x'.repeat(1e6));"),
  slow: source(`
    ctx.waitUntil(new Promise((resolve) => setTimeout(resolve, 200)));
    let left = 50;
    return new Response(new ReadableStream({
      async pull(controller) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        if (left-- > 0) controller.enqueue(new Uint8Array(10000));
        else controller.close();
      },
    }));`),
  sockets: source(`
    const [theirs, ours] = Object.values(new WebSocketPair());
    ours.accept();
    ours.addEventListener('message', ({ data }) => ours.send(data));
    return new Response(null, { status: 101, webSocket: theirs });`),
  throwing: source("throw new Error('as planned');"),
  fetching: source("return fetch('http://' + request.headers.get('x-origin') + '/');"),
  calling: source('return env.PLAIN.fetch(request);'),
  killed: source(`return new Response('${GREETING}');`),
};
/** Two texts of one Worker that are deployed in turns. */
export const CHANGING = ['one', 'two'].map((text) => source(`return new Response('${text}');`));

const MALFORMED = [
  'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: a\r\nX-Nul: \0\r\n\r\n',
  'GET / HTTP/7.0\r\nHost: a\r\n\r\n',
  `GET / HTTP/1.1\r\nHost: a\r\nX-Large: ${'a'.repeat(100_000)}\r\n\r\n`,
  '\x16\x03\x01\0\0\0\0',
  'no HTTP at all\r\n\r\n',
];

/** Deploys a Worker by one call of the API. */
export async function deploy(edge: Edge, name: string, text: string, bindings: object[] = []): Promise<void> {
  const form = new FormData();
  form.set('metadata', JSON.stringify({ main_module: 'index.js', compatibility_date: '2026-11-01', bindings }));
  form.set('index.js', new File([text], 'index.js', { type: 'application/javascript+module' }));
  const path = `/accounts/${edge.accountId}/workers/scripts/${name}`;
  const { status, body } = await edge.api(path, { method: 'PUT', body: form });
  if (status !== 200) throw new Error(`${name} is not deployed: ${JSON.stringify(body)}`);
  await edge.api(`${path}/subdomain`, { method: 'POST', body: { enabled: true } });
}

/** An origin for the Worker that fetches. */
export async function startOrigin(): Promise<{ address: string; close(): void }> {
  const server = createServer((_request, response) => response.end(GREETING));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** All kinds. `killOne` kills the process of the Worker "killed"; `close` ends the connections that are kept between rounds. */
export function kinds(
  edge: Edge,
  origin: string,
  killOne: () => Promise<void>,
): { kinds: Record<string, Kind>; close(): void } {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  const ask = (name: string, init: { method?: string; headers?: Record<string, string>; body?: Buffer } = {}) =>
    new Promise<{ status: number; bytes: Buffer }>((resolve, reject) => {
      const { method = 'GET', headers = {}, body } = init;
      const asked = request(
        { host: '127.0.0.1', port: edge.http, agent, method, headers: { host: edge.host(name), ...headers } },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', reject);
          response.on('end', () => resolve({ status: response.statusCode!, bytes: Buffer.concat(chunks) }));
        },
      );
      asked.on('error', reject).end(body);
    });
  const greeted = async (name: string, headers: Record<string, string> = {}) => {
    const { status, bytes } = await ask(name, { headers });
    same(`${status} ${bytes}`, `200 ${GREETING}`);
  };
  return {
    close: () => agent.destroy(),
    kinds: {
      plain: { lanes: 4, pauseMs: 10, round: () => greeted('plain') },
      TLS: {
        lanes: 2,
        pauseMs: 100,
        round: async (number) => {
          const { status, text } = await edge.tls(edge.host('plain'), '/', { http2: number % 2 === 0 });
          same(`${status} ${text}`, `200 ${GREETING}`);
        },
      },
      'HTTP/2 streams': { lanes: 2, pauseMs: 100, round: (number) => streams(edge, number % 3 === 0) },
      WebSockets: { lanes: 4, pauseMs: 50, round: (number) => echoes(edge, number % 2 === 0) },
      'bodies up': {
        lanes: 1,
        pauseMs: 200,
        round: async () => same((await ask('bodies', { method: 'POST', body: BODY })).bytes.length, BODY.length),
      },
      'bodies down': {
        lanes: 1,
        pauseMs: 200,
        round: async () => same((await ask('bodies')).bytes.length, 1e6),
      },
      'aborted answers': { lanes: 2, pauseMs: 50, round: () => abort(edge, 'slow', undefined) },
      'aborted bodies': { lanes: 2, pauseMs: 50, round: () => abort(edge, 'bodies', BODY.subarray(0, 1e6)) },
      malformed: { lanes: 2, pauseMs: 20, round: (number) => malformed(edge, MALFORMED[number % MALFORMED.length]!) },
      exceptions: {
        lanes: 1,
        pauseMs: 100,
        round: async () => same((await ask('throwing')).status, 500),
      },
      'fetch()': { lanes: 2, pauseMs: 20, round: () => greeted('fetching', { 'x-origin': origin }) },
      'service binding': { lanes: 2, pauseMs: 20, round: () => greeted('calling') },
      deploys: {
        lanes: 1,
        pauseMs: 3_000,
        round: async (number) => {
          await deploy(edge, 'changing', CHANGING[number % 2]!);
          same(String((await ask('changing')).bytes), ['one', 'two'][number % 2]);
        },
      },
      'during deploys': {
        lanes: 1,
        pauseMs: 20,
        round: async () => same((await ask('changing')).status, 200),
      },
      kills: { lanes: 1, pauseMs: 5_000, round: killOne },
      'during kills': { lanes: 1, pauseMs: 20, round: () => greeted('killed'), mayFail: true },
    },
  };
}

function same<T>(actual: T, expected: T): void {
  if (actual !== expected) throw new Error(`${String(actual).slice(0, 200)} instead of ${expected}`);
}

/** Some requests on one HTTP/2 connection at once; with `reset` half of them are cancelled. */
async function streams(edge: Edge, reset: boolean): Promise<void> {
  const session = connectHttp2(`https://127.0.0.1:${edge.https}`, {
    servername: edge.host('plain'),
    rejectUnauthorized: false,
  });
  try {
    const answers = Array.from({ length: 10 }, async (_, i) => {
      const stream = session.request({ ':path': '/', ':authority': edge.host('plain') });
      if (reset && i % 2 === 0) {
        stream.on('error', () => undefined).close(8 /* CANCEL, RFC 9113, 7 */);
        return;
      }
      let text = '';
      stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      await once(stream, 'end');
      same(text, GREETING);
    });
    await Promise.race([Promise.all(answers), once(session, 'close').then(() => Promise.reject(new Error('closed')))]);
  } finally {
    session.destroy();
  }
}

/** Some echoes on one WebSocket; it ends with a close frame or without. */
async function echoes(edge: Edge, politely: boolean): Promise<void> {
  const socket = await edge.websocket(edge.host('sockets'));
  for (let i = 0; i < 10; i++) {
    socket.send(`message ${i}`);
    const [data] = await once(socket, 'message');
    same(String(data), `message ${i}`);
  }
  const closed = once(socket, 'close');
  if (politely) socket.close(1000);
  else socket.terminate();
  await closed;
}

/** Begins a request and cuts the connection in the middle of its body or of the answer. */
async function abort(edge: Edge, name: string, body: Buffer | undefined): Promise<void> {
  const socket = connect({ port: edge.http, host: '127.0.0.1' });
  const closed = once(socket, 'close');
  const length = body ? `Content-Length: ${2 * body.length}\r\n` : '';
  socket.write(`${body ? 'POST' : 'GET'} / HTTP/1.1\r\nHost: ${edge.host(name)}\r\n${length}\r\n`);
  if (body) socket.write(body);
  await once(socket, 'data');
  socket.destroy();
  await closed;
}

/** Sends what is no request; the edge has to end the connection. */
async function malformed(edge: Edge, text: string): Promise<void> {
  const socket = connect({ port: edge.http, host: '127.0.0.1' });
  // The edge may cut while the text is still on its way.
  socket.on('error', () => undefined).resume();
  socket.end(text, 'latin1');
  await new Promise((resolve) => socket.once('close', resolve));
}

/** Runs all kinds. `counts` may be read while they run; `stop` resolves when the last round has ended. */
export function run(all: Record<string, Kind>): { counts: Record<string, Count>; stop(): Promise<void> } {
  const counts: Record<string, Count> = {};
  let running = true;
  let wake = () => {};
  const stopped = new Promise<void>((resolve) => {
    wake = resolve;
  });
  const loops = Object.entries(all).flatMap(([name, kind]) => {
    const count: Count = { done: 0, failed: 0, errors: [] };
    counts[name] = count;
    return Array.from({ length: kind.lanes }, async () => {
      while (running) {
        try {
          await withTimeout(kind.round(count.done + count.failed));
          count.done++;
        } catch (error) {
          count.failed++;
          if (count.errors.length < ERRORS_KEPT) count.errors.push(String(error));
        }
        await pause(kind.pauseMs, stopped);
      }
    });
  });
  return {
    counts,
    async stop() {
      running = false;
      wake();
      await Promise.all(loops);
    },
  };
}

async function pause(ms: number, stopped: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([
    stopped,
    new Promise((resolve) => {
      timer = setTimeout(resolve, ms);
    }),
  ]);
  clearTimeout(timer);
}

async function withTimeout(round: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${ROUND_TIMEOUT_MS / 1000} s`)), ROUND_TIMEOUT_MS);
  });
  try {
    await Promise.race([round, late]);
  } finally {
    clearTimeout(timer);
  }
}
