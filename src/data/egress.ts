/**
 * Egress: what a Worker's fetch() and connect() reach. workerd sends HTTP requests with an absolute URL in the request line (as
 * to a proxy), Upgrade for WebSockets and CONNECT for TCP. Bodies stream both ways with back-pressure and are never decoded:
 * workerd does that, and follows redirects too, so that each hop comes here and is checked again.
 *
 * Failures of the origin are responses (origin-errors.ts). Too many subrequests and URLs that are none end the connection
 * without a response, which is the only way to make fetch() throw in the Worker; the reason goes to its tail.
 */
import { createServer, request as httpRequest, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { Budget } from './budget.ts';
import { headerValue, MAX_HOPS, toOrigin, toWorker } from './headers.ts';
import type { Origin } from './origin.ts';
import { errorBody, LOOP, type OriginError, toOriginError } from './origin-errors.ts';

const MAX_HEADER_BYTES = 128 * 1024;
/** Sending mail by connect() is refused, as by Cloudflare (TCP sockets, "Considerations"). */
const SMTP_PORT = 25;

export interface EgressOptions {
  origin: Origin;
  budget: Budget;
  /** Value of CF-Worker, asked for with each request: routes may change. */
  cfWorker: () => string;
  /** fetch() will throw in the Worker: say why, where its author looks. */
  onRefused: (reason: string) => void;
}

/** The server of `egress.sock` of one isolate process; the caller lets it listen. */
export function createEgress({ origin, budget, cfWorker, onRefused }: EgressOptions): Server {
  // keepAliveTimeout 0: workerd decides how long it keeps connections; closing idle ones would race with its next request.
  const server = createServer({
    requireHostHeader: false,
    keepAliveTimeout: 0,
    requestTimeout: 0,
    maxHeaderSize: MAX_HEADER_BYTES,
  });

  function admit(): boolean {
    if (budget.take()) return true;
    onRefused('Too many subrequests.');
    return false;
  }

  server.on('request', (req, res) => {
    const url = httpUrl(req.url);
    if (!url || !admit()) return void req.socket.destroy();
    const { headers, hops } = toOrigin(req.rawHeaders, cfWorker());
    if (hops > MAX_HOPS) return sendError(res, LOOP);
    forward(origin, req, res, url, headers);
  });

  server.on('upgrade', (req, socket, head) => {
    socket.on('error', () => socket.destroy());
    const url = httpUrl(req.url);
    if (!url || !admit()) return void socket.destroy();
    const { headers, hops } = toOrigin(req.rawHeaders, cfWorker());
    const respond = () => {
      const res = new ServerResponse(req);
      res.shouldKeepAlive = false;
      res.assignSocket(socket as Socket);
      res.once('finish', () => socket.end());
      return res;
    };
    if (hops > MAX_HOPS) return sendError(respond(), LOOP);
    upgrade(origin, url, req, headers, socket, head, respond);
  });

  server.on('connect', (req, socket, head) => {
    socket.on('error', () => socket.destroy());
    const target = URL.parse(`tcp://${req.url}`);
    const port = Number(target?.port);
    if (!target || !port || !admit()) return void socket.destroy();
    if (port === SMTP_PORT) return refuseConnect(socket, 403, 'Port 25 is not allowed');
    tunnel(origin, target.hostname, port, socket, head);
  });
  return server;
}

function httpUrl(text: string | undefined): URL | null {
  const url = URL.parse(text ?? '');
  return url && (url.protocol === 'http:' || url.protocol === 'https:') ? url : null;
}

function forward(origin: Origin, req: IncomingMessage, res: ServerResponse, url: URL, headers: string[]): void {
  const hasBody = req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0;
  if (!hasBody) req.resume();
  // Without a body a request may be sent again: a kept-alive connection that the origin closed meanwhile is no failure.
  let retries = !hasBody && (req.method === 'GET' || req.method === 'HEAD') ? 1 : 0;
  let abort: ((reason: Error) => void) | undefined;
  res.once('close', () => {
    if (!res.writableFinished) abort?.(new Error('the Worker went away'));
  });

  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(controller) {
      abort = (error) => controller.abort(error);
      if (res.destroyed) controller.abort(new Error('the Worker went away'));
    },
    onResponseStart(controller, status, _headers, statusMessage) {
      if (status < 200) return;
      const raw = (controller.rawHeaders as Buffer[]).map((item) => item.toString('latin1'));
      writeHead(res, status, statusMessage ?? '', toWorker(raw));
      // Not flushHeaders(): that encodes the head as UTF-8, and header values are bytes (latin1).
      if (res.writable) res.write(Buffer.alloc(0));
      res.on('drain', () => controller.resume());
    },
    onResponseData(controller, chunk) {
      if (!res.write(chunk)) controller.pause();
    },
    onResponseEnd() {
      res.end();
    },
    onResponseError(_controller, error) {
      if (res.destroyed) return;
      // The head is out: only a cut connection tells the Worker that the body is not whole.
      if (res.headersSent) return void res.destroy();
      if (retries-- > 0 && (error as { code?: string }).code === 'UND_ERR_SOCKET') return send();
      sendError(res, toOriginError(error, url.hostname));
    },
  };
  function send(): void {
    try {
      origin.agent.dispatch(
        {
          origin: url.origin,
          path: url.pathname + url.search,
          method: req.method as Dispatcher.HttpMethod,
          headers: ['Host', url.host, ...headers],
          body: hasBody ? req : null,
        },
        handler,
      );
    } catch (error) {
      sendError(res, toOriginError(error, url.hostname));
    }
  }
  send();
}

/** A request with Upgrade, on a connection of its own. Whatever protocol it asks for: after 101 bytes are passed on. */
function upgrade(
  origin: Origin,
  url: URL,
  req: IncomingMessage,
  headers: string[],
  socket: Duplex,
  head: Buffer,
  respond: () => ServerResponse,
): void {
  const protocol = headerValue(req.rawHeaders, 'upgrade') ?? 'websocket';
  const fail = (error: unknown) => {
    if (!socket.destroyed) sendError(respond(), toOriginError(error, url.hostname));
  };
  let outgoing: ReturnType<typeof httpRequest>;
  try {
    const connection = origin.open(url);
    outgoing = httpRequest({
      createConnection: () => connection,
      method: req.method,
      path: url.pathname + url.search,
      setHost: false,
      headers: ['Host', url.host, ...headers, 'Connection', 'Upgrade', 'Upgrade', protocol],
    });
  } catch (error) {
    fail(error);
    return;
  }
  socket.once('close', () => outgoing.destroy());
  outgoing.once('error', fail);
  outgoing.once('response', (response) => {
    const res = respond();
    writeHead(res, response.statusCode ?? 520, response.statusMessage ?? '', toWorker(response.rawHeaders));
    response.pipe(res);
  });
  outgoing.once('upgrade', (response, remote, remoteHead) => {
    const lines = [`HTTP/1.1 101 ${response.statusMessage || 'Switching Protocols'}`];
    const answer = ['Connection', 'Upgrade', 'Upgrade', protocol, ...toWorker(response.rawHeaders)];
    for (let i = 0; i + 1 < answer.length; i += 2) lines.push(`${answer[i]}: ${answer[i + 1]}`);
    socket.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
    if (remoteHead.length > 0) socket.write(remoteHead);
    if (head.length > 0) remote.write(head);
    join(socket, remote);
  });
  outgoing.end();
}

function tunnel(origin: Origin, hostname: string, port: number, socket: Duplex, head: Buffer): void {
  let remote: Socket;
  try {
    remote = origin.tcp(hostname, port);
  } catch (error) {
    refuseConnect(socket, 403, (error as Error).message);
    return;
  }
  const fail = (error: unknown) => {
    const { status, text } = toOriginError(error, hostname);
    refuseConnect(socket, status, text);
  };
  remote.once('error', fail);
  socket.once('close', () => remote.destroy());
  remote.once('connect', () => {
    remote.off('error', fail);
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    if (head.length > 0) remote.write(head);
    join(socket, remote);
  });
}

/** Bytes both ways; each side's end is passed on, and what breaks on one side ends the other. */
function join(a: Duplex, b: Duplex): void {
  a.on('error', () => b.destroy());
  b.on('error', () => a.destroy());
  a.on('close', () => b.destroy());
  b.on('close', () => a.destroy());
  a.pipe(b);
  b.pipe(a);
}

function refuseConnect(socket: Duplex, status: number, text: string): void {
  const phrase = text.replace(/[^\x20-\x7e]/g, '?');
  socket.end(`HTTP/1.1 ${status} ${phrase}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
}

/** Node would add Connection, Keep-Alive and Date, and the Worker would see them in `response.headers`. */
function writeHead(res: ServerResponse, status: number, message: string, headers: string[]): void {
  res.sendDate = false;
  res.removeHeader('connection');
  res.writeHead(status, message, headers);
}

function sendError(res: ServerResponse, error: OriginError): void {
  const body = errorBody(error);
  writeHead(res, error.status, '', [
    'Content-Type',
    'text/plain; charset=UTF-8',
    'Content-Length',
    String(body.length),
  ]);
  res.end(body);
}
