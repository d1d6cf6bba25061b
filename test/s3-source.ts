/** The way to an S3 source in tests: counts requests, and lets them wait or breaks them off. */
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Gate {
  /** "http://127.0.0.1:<port>", or "https://localhost:<port>": takes the place of the source's endpoint. */
  url: string;
  /** "GET /bucket/key" of each request that came, in order. */
  asked: string[];
  /** Connections that came. */
  connections: number;
  /** How many requests name this path. */
  count(path: string): number;
  /** The body is broken off behind this many bytes. */
  cutAfter: number | null;
  /** The body waits behind this many bytes until `release`. */
  holdAfter: number | null;
  release(): void;
  /** Before each answer. */
  delayMs: number;
  /** Instead of asking the source for this path; null asks it. */
  answerWith: (path: string) => { status: number; body?: string } | null;
  close(): Promise<void>;
}

/** Passes requests on to `endpoint`. The Host field stays, as it is signed. `tls`: speaks TLS with this certificate for localhost. */
export async function openGate(endpoint: string, tls?: { cert: string; key: string }): Promise<Gate> {
  let released = Promise.withResolvers<void>();
  const asked: string[] = [];
  const listener = (incoming: IncomingMessage, answer: ServerResponse) => {
    asked.push(`${incoming.method} ${incoming.url}`);
    const instead = gate.answerWith(incoming.url!.split('?')[0]!);
    if (instead) return void answer.writeHead(instead.status).end(instead.body);
    const { hostname, port } = new URL(endpoint);
    const { method, url: path, headers } = incoming;
    async function* body(response: IncomingMessage) {
      let bytes = 0;
      await sleep(gate.delayMs);
      for await (const chunk of response as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        if (gate.cutAfter !== null && bytes > gate.cutAfter) throw new Error('cut');
        if (gate.holdAfter !== null && bytes > gate.holdAfter) await released.promise;
        yield chunk;
      }
    }
    const passed = request({ host: hostname, port, method, path, headers, agent: false }, (response) => {
      answer.writeHead(response.statusCode!, response.headers);
      pipeline(body(response), answer).catch(() => answer.destroy());
    });
    passed.on('error', () => answer.destroy());
    incoming.pipe(passed);
  };
  const server: Server = tls ? createTlsServer(tls, listener) : createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const gate: Gate = {
    url: tls ? `https://localhost:${port}` : `http://127.0.0.1:${port}`,
    asked,
    connections: 0,
    count: (path) => asked.filter((each) => each.split(/[ ?]/)[1] === path).length,
    cutAfter: null,
    holdAfter: null,
    delayMs: 0,
    answerWith: () => null,
    release() {
      gate.holdAfter = null;
      released.resolve();
      released = Promise.withResolvers();
    },
    async close() {
      const done = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await done;
    },
  };
  server.on(tls ? 'secureConnection' : 'connection', () => gate.connections++);
  return gate;
}
