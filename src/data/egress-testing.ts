/** For tests of the egress: an origin with its habits, names, and egress sockets as isolate processes have them. */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { WebSocketServer } from 'ws';
import { createAddresses } from './addresses.ts';
import { type Budget, createBudget } from './budget.ts';
import { createConnector } from './connector.ts';
import type { Destination } from './destination.ts';
import { createEgress } from './egress.ts';
import { createMeters, type Meter } from './egress-meter.ts';
import { createIsSelf } from './self.ts';
import { type OpenSocket, openSocket } from './sockets.ts';
import { resolver, to } from './testing.ts';
import { createTransport } from './transport.ts';

export interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  rawHeaders: string[];
  body: Buffer;
}

/** An egress with its socket, as one isolate process has it. */
export interface Exit {
  path: string;
  refusals: string[];
  meter: Meter;
  close(): Promise<void>;
}

interface ExitOptions {
  allow?: string[];
  budget?: Budget;
  /** Hosts of this machine: they lead to the origin of the tests, as to the local edge. */
  served?: string;
  enterSelf?: () => (() => void) | null;
  /** What `resolveOverride` leads to. */
  override?: (url: URL, host: string) => Destination;
  headersTimeoutMs?: number;
  ca?: string;
}

export interface Bench {
  origin: Server;
  /** Of the origin. */
  port: number;
  /** At which this machine's own edge would listen. */
  edgePort: number;
  names: ReturnType<typeof resolver>;
  /** Requests that the origin got. */
  seen: { method: string; url: string; raw: string[] }[];
  exit(options?: ExitOptions): Promise<Exit>;
  close(): Promise<void>;
}

/** As workerd asks: the absolute URL in the request line. */
export function ask(
  socketPath: string,
  url: string,
  init: { method?: string; headers?: Record<string, string>; body?: Buffer } = {},
) {
  return new Promise<Answer>((done, fail) => {
    const req = request({ socketPath, path: url, method: init.method ?? 'GET', headers: init.headers, agent: false });
    req.on('error', fail);
    req.on('response', async (res) => {
      const chunks: Buffer[] = [];
      try {
        for await (const chunk of res) chunks.push(chunk);
        done({
          status: res.statusCode ?? 0,
          headers: res.headers,
          rawHeaders: res.rawHeaders,
          body: Buffer.concat(chunks),
        });
      } catch (error) {
        fail(error);
      }
    });
    req.end(init.body);
  });
}

export async function openBench(): Promise<Bench> {
  const seen: Bench['seen'] = [];
  const closers: (() => Promise<unknown>)[] = [];
  const names = resolver({
    'origin.example': ['127.0.0.1'],
    'secure.example': ['127.0.0.1'],
    'private.example': ['10.9.9.9', '192.168.1.1'],
    'metadata.example': ['169.254.169.254'],
  });
  const dir = await mkdtemp(join(tmpdir(), 'selvedge-egress-'));
  const origin = createServer((req, res) => {
    seen.push({ method: req.method ?? '', url: req.url ?? '', raw: req.rawHeaders });
    if (req.url === '/gzip') {
      res.setHeader('content-encoding', 'gzip');
      res.end(gzipSync('squeezed'));
    } else if (req.url === '/cookies')
      res
        .writeHead(
          200,
          [
            ['set-cookie', 'a=1'],
            ['set-cookie', 'b=2'],
          ].flat(),
        )
        .end('ok');
    else if (req.url === '/echo') req.pipe(res);
    else if (req.url === '/slow') setTimeout(() => res.end('slow'), 300);
    else if (req.url === '/silent') return;
    else if (req.url === '/forms') res.end(JSON.stringify(req.headers));
    else if (req.url === '/early') res.end('enough');
    else if (req.url === '/del') {
      // A byte that this side of HTTP lets through and no header may have.
      req.socket.end('HTTP/1.1 200 OK\r\nX-Bad: a\x7fb\r\nContent-Length: 0\r\n\r\n', 'latin1');
    } else if (req.url === '/redirect') res.writeHead(302, { location: 'http://private.example/' }).end();
    else if (req.url === '/reset') req.socket.destroy();
    else if (req.url === '/cut') {
      res.writeHead(200, { 'content-length': '100' });
      res.write('part', () => req.socket.destroy());
    } else if (req.url === '/nothing') res.writeHead(204).end();
    else if (req.url === '/latin') res.writeHead(200, { 'x-name': 'caf\xe9' }).end();
    else res.end(`hello from ${req.headers.host}`);
  });
  const sockets = new WebSocketServer({ noServer: true });
  origin.on('upgrade', (req, socket, head) => {
    if (req.url === '/no-websocket') {
      socket.end('HTTP/1.1 403 Forbidden\r\nX-Why: closed\r\nContent-Length: 4\r\n\r\nshut');
      return;
    }
    sockets.handleUpgrade(req, socket, head, (ws) => ws.on('message', (data) => ws.send(`echo ${data}`)));
  });
  origin.listen(0, '127.0.0.1');
  await once(origin, 'listening');
  const { port } = origin.address() as AddressInfo;
  const edge = createTcpServer((socket) => socket.end()).listen(0, '127.0.0.1');
  await once(edge, 'listening');
  const { port: edgePort } = edge.address() as AddressInfo;

  let count = 0;
  async function exit(options: ExitOptions = {}): Promise<Exit> {
    const path = join(dir, `egress-${count++}.sock`);
    const addresses = createAddresses(options.allow ?? ['127.0.0.0/8'], names);
    const connector = createConnector(addresses, createIsSelf([edgePort]), options.ca);
    const transport = createTransport(connector);
    const refusals: string[] = [];
    const meters = createMeters();
    const meter = meters.of('a1', 'w');
    const server = createEgress({
      connector,
      transport,
      budget: options.budget ?? createBudget(1000),
      meter,
      destination: (url, host) =>
        host && options.override
          ? options.override(url, host)
          : url.hostname === options.served
            ? to(url.href, { local: true, host: '127.0.0.1', port })
            : to(url.href, { servername: /^[\d.]+$|:/.test(url.hostname) ? '' : url.hostname }),
      enterSelf: options.enterSelf ?? (() => () => undefined),
      cfWorker: () => 'zone.example',
      headersTimeoutMs: options.headersTimeoutMs,
      onRefused: (reason) => refusals.push(reason),
    });
    const socket: OpenSocket = await openSocket(server, path, 100);
    const close = async () => {
      await socket.close();
      transport.close();
    };
    closers.push(close);
    return { path, refusals, meter, close };
  }

  return {
    origin,
    port,
    edgePort,
    names,
    seen,
    exit,
    async close() {
      for (const close of closers) await close();
      origin.closeAllConnections();
      origin.close();
      edge.close();
      await rm(dir, { recursive: true });
    },
  };
}
