/** A request with Upgrade, on a connection of its own. Whatever protocol it asks for: after 101 bytes are passed on. */
import { type IncomingMessage, request, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Connector } from './connector.ts';
import type { Subrequest } from './exchange.ts';
import { headerValue, toWorker } from './headers.ts';
import { toOriginError } from './origin-errors.ts';
import { sendError, writeHead } from './reply.ts';
import { join } from './tunnel.ts';

/** Opens the connection and answers on `socket`; `early` came behind the Worker's request; `onStatus` hears how it was answered. Never throws. */
export function upgrade(
  connector: Connector,
  subrequest: Subrequest,
  req: IncomingMessage,
  socket: Duplex,
  early: Buffer,
  onStatus: (status: number) => void,
): void {
  const { url, destination, headers, meter } = subrequest;
  const protocol = headerValue(req.rawHeaders, 'upgrade') ?? 'websocket';
  const fail = (error: unknown) => {
    if (socket.destroyed) return;
    const known = toOriginError(error, destination);
    if (known.refused) meter.refused++;
    onStatus(known.status);
    sendError(responseOn(req, socket), known);
  };
  let outgoing: ReturnType<typeof request>;
  try {
    // HTTP/2 has no Upgrade.
    const connection = connector.open(destination, ['http/1.1']);
    outgoing = request({
      createConnection: () => connection,
      method: req.method,
      path: url.pathname + url.search,
      setHost: false,
      headers: ['Host', destination.authority, ...headers, 'Connection', 'Upgrade', 'Upgrade', protocol],
    });
  } catch (error) {
    fail(error);
    return;
  }
  socket.once('close', () => outgoing.destroy());
  outgoing.once('error', fail);
  outgoing.once('response', (response) => {
    const res = responseOn(req, socket);
    onStatus(response.statusCode ?? 520);
    try {
      writeHead(res, response.statusCode ?? 520, response.statusMessage ?? '', toWorker(response.rawHeaders));
    } catch (error) {
      outgoing.destroy();
      return fail(error);
    }
    response.once('error', () => socket.destroy());
    response.pipe(res);
  });
  outgoing.once('upgrade', (response, remote, remoteEarly) => {
    onStatus(101);
    const lines = [`HTTP/1.1 101 ${response.statusMessage || 'Switching Protocols'}`];
    const answer = ['Connection', 'Upgrade', 'Upgrade', protocol, ...toWorker(response.rawHeaders)];
    for (let i = 0; i + 1 < answer.length; i += 2) lines.push(`${answer[i]}: ${answer[i + 1]}`);
    socket.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
    if (remoteEarly.length > 0) socket.write(remoteEarly);
    if (early.length > 0) remote.write(early);
    join(socket, remote, destination.local ? undefined : meter);
  });
  outgoing.end();
}

/** An ordinary answer on a socket that asked for an upgrade. */
export function responseOn(req: IncomingMessage, socket: Duplex): ServerResponse {
  const res = new ServerResponse(req);
  res.shouldKeepAlive = false;
  res.assignSocket(socket as Socket);
  res.once('finish', () => socket.end());
  return res;
}
