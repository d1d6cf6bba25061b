/** Answers to a Worker over its egress socket. */
import type { ServerResponse } from 'node:http';
import { errorBody, type OriginError } from './origin-errors.ts';

/** Node would add Connection, Keep-Alive and Date, and the Worker would see them in `response.headers`. Throws on what is no header. */
export function writeHead(res: ServerResponse, status: number, message: string, headers: string[]): void {
  res.sendDate = false;
  res.removeHeader('connection');
  res.writeHead(status, message, headers);
}

/** A failure as Cloudflare tells it: a response, no exception. */
export function sendError(res: ServerResponse, error: OriginError): void {
  const body = errorBody(error);
  writeHead(res, error.status, '', [
    'Content-Type',
    'text/plain; charset=UTF-8',
    'Content-Length',
    String(body.length),
  ]);
  res.end(body);
}
