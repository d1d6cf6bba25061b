/** WebSockets: the upgrade is passed on to the isolate process; what follows is `websocket-relay.ts`. */
import { type IncomingMessage, request } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { log, reason } from '../model/log.ts';
import type { Bus } from '../state/bus.ts';
import { sendError } from './error-pages.ts';
import type { Instance } from './instance.ts';
import type { Snapshot } from './snapshot.ts';
import type { WebSocketRelay } from './websocket-relay.ts';
import { MAX_TRIES, type Passage, sendVerdict, sendWakeError, signed, verdictOn } from './worker.ts';

/** A Worker's answer to an upgrade has to come within this time. */
const HANDSHAKE_TIMEOUT_MS = 30_000;

/** Is this an upgrade to a WebSocket (RFC 6455, 4.1)? Others (h2c) are answered as plain requests (RFC 9110, 7.8). */
export function isWebSocket({ method, headers }: IncomingMessage): boolean {
  return (
    method === 'GET' && headers.upgrade?.toLowerCase() === 'websocket' && /\bupgrade\b/i.test(headers.connection ?? '')
  );
}

/**
 * `passage.head` is the upgrade request and `passage.reply` answers on `socket`, the eyeball's; `early` is what it sent behind the
 * head already. Resolves when the Worker has answered or an error page has been sent.
 */
export async function passWebSocket(
  snapshot: Snapshot,
  bus: Bus,
  passage: Passage,
  relay: WebSocketRelay,
  socket: Duplex,
  early: Buffer,
): Promise<void> {
  const { instances } = snapshot;
  const { version } = passage;
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    if (!instances.pick(version.id)) {
      try {
        await instances.wake(version.id);
      } catch (error) {
        return sendWakeError(passage, error);
      }
    }
    if (socket.destroyed) return;
    const instance = instances.pick(version.id);
    if (!instance) continue;
    const outcome = await offer(instance, snapshot, passage, relay, socket, early);
    if (outcome === 'answered') return;
    if (outcome === 'lost') {
      const { verdict, unseen } = await verdictOn(bus, instance, passage.reply.record.sentAt);
      if (!unseen) return sendVerdict(snapshot, bus, passage, verdict);
    }
    instances.drop(version.id, instance);
  }
  sendError(passage.reply, passage.head, passage.ray, 'edge');
}

/** Offers the upgrade to one process. `unreachable`: it never saw it. `lost`: it dropped it. */
function offer(
  instance: Instance,
  { instances }: Snapshot,
  passage: Passage,
  relay: WebSocketRelay,
  socket: Duplex,
  early: Buffer,
): Promise<'answered' | 'lost' | 'unreachable'> {
  const { head, client, ray, reply, version } = passage;
  instances.begin(instance);
  reply.record.sentAt = performance.now();
  let open = true;
  const end = () => {
    if (open) instances.end(instance);
    open = false;
    upstream.destroy();
  };
  const upstream = request({
    socketPath: instance.ref.main,
    method: 'GET',
    path: head.target,
    // Workers compare with 'websocket', some clients send 'WebSocket'.
    headers: [
      ...head.pairs(),
      ...linesToPairs(client.lines),
      ['CF-Ray', ray],
      ['Connection', 'Upgrade'],
      ['Upgrade', 'websocket'],
    ].flat(),
    agent: false,
    timeout: HANDSHAKE_TIMEOUT_MS,
  });
  socket.once('close', end);
  return new Promise((resolve) => {
    upstream.on('upgrade', (response, upstreamSocket, first) => {
      const lines = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade'];
      const headers = signed(endToEnd(response.rawHeaders), ray);
      for (let i = 0; i < headers.length; i += 2) lines.push(`${headers[i]}: ${headers[i + 1]}`);
      reply.record.answered(101);
      socket.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
      if (first.length > 0) upstreamSocket.unshift(first);
      relay.join(socket as Socket, upstreamSocket as Socket, early);
      resolve('answered');
    });
    upstream.on('response', (response) => {
      resolve('answered');
      if (isUncaught(response)) return sendError(reply, head, ray, 'exception');
      // The Worker answers without a WebSocket: its answer is passed on and ends the connection.
      reply.head(response.statusCode!, signed(endToEnd(response.rawHeaders), ray));
      response.on('close', () => (response.complete ? undefined : reply.cut()));
      response.pipe(socket);
    });
    upstream.on('timeout', () => upstream.destroy(new Error('the Worker did not answer the upgrade')));
    upstream.on('error', (error: NodeJS.ErrnoException) => {
      log('debug', 'a WebSocket was not answered', { version: version.id, error: reason(error) });
      socket.off('close', end);
      end();
      resolve(error.code === 'ENOENT' || error.code === 'ECONNREFUSED' ? 'unreachable' : 'lost');
    });
    upstream.end();
  });
}

/** What workerd sends when the Worker threw; see `UNCAUGHT` in response-parser.ts. */
function isUncaught({ statusCode, rawHeaders, headers }: IncomingMessage): boolean {
  return (
    statusCode === 500 &&
    rawHeaders.length === 4 &&
    headers.connection === 'close' &&
    headers['content-length'] === '21'
  );
}

const HOP_BY_HOP = new Set([
  'connection',
  'upgrade',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
]);

function endToEnd(raw: string[]): string[] {
  const headers: string[] = [];
  for (let i = 0; i < raw.length; i += 2)
    if (!HOP_BY_HOP.has(raw[i]!.toLowerCase())) headers.push(raw[i]!, raw[i + 1]!);
  return headers;
}

function linesToPairs(lines: string): [string, string][] {
  return lines
    .split('\r\n')
    .filter((line) => line !== '')
    .map((line) => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]);
}
