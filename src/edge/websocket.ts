/** WebSockets: the upgrade is passed on to the isolate process, then bytes flow both ways until one side ends. */
import { request } from 'node:http';
import type { Duplex } from 'node:stream';
import { log, reason } from '../model/log.ts';
import type { Snapshot } from './snapshot.ts';
import type { Passage } from './worker.ts';

/** A Worker's answer to an upgrade has to come within this time. */
const HANDSHAKE_TIMEOUT_MS = 30_000;

/** `passage.head` is the upgrade request; `socket` the eyeball's, `early` what it sent behind the head already. */
export async function passWebSocket(snapshot: Snapshot, passage: Passage, socket: Duplex, early: Buffer): Promise<void> {
  const { head, client, ray, version } = passage;
  if (!snapshot.instances.pick(version.id)) await snapshot.instances.wake(version.id);
  const instance = snapshot.instances.pick(version.id);
  if (!instance) throw new Error('no process takes the request');
  const headers = [...head.pairs(), ...linesToPairs(client.lines), ['CF-Ray', ray] as [string, string]];
  snapshot.instances.begin(instance);
  let ended = false;
  const end = () => {
    if (!ended) snapshot.instances.end(instance);
    ended = true;
  };
  socket.once('close', end);
  const upstream = request({
    socketPath: instance.ref.main,
    method: 'GET',
    path: head.target,
    // Workers compare with 'websocket', some clients send 'WebSocket'.
    headers: [...headers.flat(), 'Connection', 'Upgrade', 'Upgrade', 'websocket'],
    agent: false,
    timeout: HANDSHAKE_TIMEOUT_MS,
  });
  upstream.on('upgrade', (response, upstreamSocket, first) => {
    upstreamSocket.setTimeout(0);
    const lines = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade'];
    appendHeaders(lines, response.rawHeaders, ray);
    socket.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
    if (first.length > 0) socket.write(first);
    if (early.length > 0) upstreamSocket.write(early);
    upstreamSocket.on('error', () => socket.destroy()).on('close', () => socket.destroy());
    socket.on('error', () => upstreamSocket.destroy()).on('close', () => upstreamSocket.destroy());
    socket.pipe(upstreamSocket).pipe(socket);
  });
  upstream.on('response', (response) => {
    // The Worker answers without a WebSocket: its answer is passed on and ends the connection.
    const lines = [`HTTP/1.1 ${response.statusCode} ${response.statusMessage}`, 'Connection: close'];
    appendHeaders(lines, response.rawHeaders, ray);
    socket.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
    response.pipe(socket);
  });
  upstream.on('timeout', () => upstream.destroy(new Error('the Worker did not answer the upgrade')));
  upstream.on('error', (error) => {
    log('debug', 'a WebSocket failed', { version: version.id, error: reason(error) });
    end();
    if (socket.writable) socket.end('HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
  });
  socket.on('close', () => upstream.destroy());
  upstream.end();
}

/** Is this upgrade a WebSocket? Others (h2c) are answered as plain requests (RFC 9110, 7.8). */
export function isWebSocket(headers: { upgrade?: string; connection?: string }): boolean {
  return headers.upgrade?.toLowerCase() === 'websocket' && /\bupgrade\b/i.test(headers.connection ?? '');
}

const DROPPED = new Set(['connection', 'upgrade', 'keep-alive', 'transfer-encoding']);

function appendHeaders(lines: string[], raw: string[], ray: string): void {
  for (let i = 0; i < raw.length; i += 2) if (!DROPPED.has(raw[i]!.toLowerCase())) lines.push(`${raw[i]}: ${raw[i + 1]}`);
  lines.push(`CF-Ray: ${ray}`, 'Server: selvedge');
}

function linesToPairs(lines: string): [string, string][] {
  return lines
    .split('\r\n')
    .filter((line) => line !== '')
    .map((line) => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]);
}

