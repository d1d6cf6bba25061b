/**
 * One fetch() of a Worker to its destination and back. Bodies stream both ways with back-pressure and are never decoded: workerd does
 * that, and follows redirects too, so that each hop comes here anew. Trailers are dropped: the Workers API has none.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import type { Meter } from './egress-meter.ts';
import type { OriginHandler, Outgoing, Subrequest } from './exchange.ts';
import { headerValue, toWorker } from './headers.ts';
import { type OriginError, RESPONSE_TIMEOUT, toOriginError } from './origin-errors.ts';
import { sendError, writeHead } from './reply.ts';
import type { Transport } from './transport.ts';

/** As at Cloudflare (connection limits). */
const HEADERS_TIMEOUT_MS = 120_000;

/** Sends the request and streams its answer to `res`; never throws. `headersTimeoutMs` counts from the request's end to the answer's head. */
export function forward(
  transport: Transport,
  subrequest: Subrequest,
  req: IncomingMessage,
  res: ServerResponse,
  headersTimeoutMs = HEADERS_TIMEOUT_MS,
): void {
  const { url, destination, headers, meter } = subrequest;
  const method = req.method ?? 'GET';
  const path = url.pathname + url.search;
  const hasBody = req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0;
  if (!hasBody) req.resume();
  // Without a body a request may be sent again: a kept connection that the origin closed meanwhile is no failure.
  let retries = !hasBody && (method === 'GET' || method === 'HEAD') ? 1 : 0;
  let outgoing: Outgoing | undefined;
  let timer: NodeJS.Timeout | undefined;
  let answered = false;
  let timedOut = false;
  const count = destination.local ? { bytesOut: 0, bytesIn: 0 } : meter;

  res.once('close', () => {
    clearTimeout(timer);
    if (!res.writableFinished) outgoing?.cancel();
  });

  const handler: OriginHandler = {
    onSending(sending) {
      outgoing = sending;
      const { stream } = sending;
      stream.once('finish', () => {
        count.bytesOut += method.length + path.length + sizeOf(headers);
        if (answered || res.destroyed) return;
        timer = setTimeout(() => {
          timedOut = true;
          stream.destroy();
        }, headersTimeoutMs);
      });
      if (hasBody) upload(req, stream, count);
    },
    onResponse(status, message, raw, body, isWhole) {
      answered = true;
      clearTimeout(timer);
      count.bytesIn += sizeOf(raw);
      if (res.destroyed) return outgoing?.cancel();
      try {
        writeHead(res, status, message, toWorker(raw));
      } catch (error) {
        // Bytes that no header may have.
        outgoing?.cancel();
        return fail(toOriginError(error, destination));
      }
      // Not flushHeaders(): that encodes the head as UTF-8, and header values are bytes (latin1).
      res.write(Buffer.alloc(0));
      const length = method === 'HEAD' || status === 304 ? undefined : headerValue(raw, 'content-length');
      let received = 0;
      body.on('data', (chunk: Buffer) => {
        received += chunk.length;
        count.bytesIn += chunk.length;
      });
      // HTTP/2 lets an origin end a body early without an error; workerd would wait for the rest.
      const allThere = () => isWhole() && (length === undefined || received === Number(length));
      download(body, res, allThere, () => {
        if (!hasBody || req.complete) return;
        // The answer is whole before the request: nobody waits for the rest.
        outgoing?.cancel();
        req.removeAllListeners('data').resume();
      });
    },
    onError(error, repeatable) {
      clearTimeout(timer);
      if (res.destroyed || res.headersSent) return void res.destroy();
      if (timedOut) return fail(RESPONSE_TIMEOUT);
      if (repeatable && retries-- > 0) return send();
      fail(toOriginError(error, destination));
    },
  };

  function send(): void {
    transport.send(destination, { method, path, headers, hasBody }, handler, () => res.destroyed);
  }

  function fail(error: OriginError): void {
    if (error.refused) meter.refused++;
    sendError(res, error);
  }
  send();
}

function upload(req: IncomingMessage, stream: Outgoing['stream'], count: Pick<Meter, 'bytesOut'>): void {
  req.on('data', (chunk: Buffer) => {
    count.bytesOut += chunk.length;
    if (!stream.write(chunk)) req.pause();
  });
  stream.on('drain', () => req.resume());
  req.once('end', () => stream.end());
}

function download(body: Readable, res: ServerResponse, isWhole: () => boolean, onWhole: () => void): void {
  body.on('data', (chunk: Buffer) => {
    if (!res.write(chunk)) body.pause();
  });
  res.on('drain', () => body.resume());
  body.once('end', () => {
    // The head is out: only a cut connection tells the Worker that the body is not whole.
    if (!isWhole()) return void res.destroy();
    res.end();
    onWhole();
  });
  body.once('error', () => res.destroy());
  body.once('close', () => {
    if (!res.writableEnded) res.destroy();
  });
}

/** Names and values in turn -> bytes on the wire, about. */
export function sizeOf(raw: readonly string[]): number {
  let size = 0;
  for (const item of raw) size += item.length + 2;
  return size;
}
