/**
 * D1 in the data process: a socket for each database that a process binds. The path of the socket says which database is meant, and was
 * said by the supervisor: nothing that the caller sends leads to another.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { log, reason } from '../../model/log.ts';
import type { Attach } from '../../model/messages.ts';
import type { Bus } from '../../state/bus.ts';
import type { DataProduct, Taking } from '../product.ts';
import { d1Databases, d1Socket } from './binding.ts';
import { createDatabaseClient, type DatabaseAddress, type DatabaseClient } from './client.ts';
import { D1, DatabaseError } from './limits.ts';

const MAX_CONNECTIONS = 512;
/** All that a binding asks for; what else a database's process answers is the control API's. */
const PATHS = new Set(['/query', '/execute']);
const BOOKMARK = 'x-cf-d1-session-commit-token';
const PASSED_UP = ['content-length', 'content-type', 'transfer-encoding', BOOKMARK];
const PASSED_DOWN = ['content-length', 'content-type', 'transfer-encoding', BOOKMARK];

export function d1Data(bus: Bus): DataProduct {
  const client = createDatabaseClient(bus, 'data');
  return {
    room: ({ accountId, bindings }: Attach, budget) =>
      d1Databases(bindings).map((id) => ({
        socket: d1Socket(id),
        server: serve(client, { accountId, id }, budget),
        maxConnections: MAX_CONNECTIONS,
      })),
    close: () => client.close(),
  };
}

function serve(client: DatabaseClient, database: DatabaseAddress, budget: Taking): Server {
  // The runtime decides how long connections are kept: closing idle ones would race with its next request.
  return createServer({ keepAliveTimeout: 0, requestTimeout: 0 }, (request, response) => {
    answer(client, database, budget, request, response).catch(async (error: unknown) => {
      await drained(request);
      if (response.headersSent || response.destroyed) return void response.destroy();
      if (!(error instanceof DatabaseError)) log('error', 'D1 failed', { database: database.id, error: reason(error) });
      refuse(response, error instanceof DatabaseError ? error.message : 'Internal error in D1 DB.');
    });
  });
}

async function answer(
  client: DatabaseClient,
  database: DatabaseAddress,
  budget: Taking,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { pathname, search } = new URL(request.url!, 'http://d1');
  if (request.method !== 'POST' || !PATHS.has(pathname)) {
    request.resume();
    return void response.writeHead(400).end(JSON.stringify({ error: `there is no ${pathname} here` }));
  }
  if (!(await budget.take())) throw new DatabaseError('Too many API requests by single Worker invocation.');
  if (Number(request.headers['content-length'] ?? 0) > D1.requestBytes) {
    throw new DatabaseError('The statements and their parameters are too large.');
  }
  const gone = new AbortController();
  response.once('close', () => {
    if (!response.writableFinished) gone.abort();
  });
  const answered = await client.ask(database, {
    method: 'POST',
    path: pathname + search,
    headers: picked(request, PASSED_UP),
    body: request,
    signal: gone.signal,
  });
  response.writeHead(answered.statusCode!, picked(answered, PASSED_DOWN));
  await pipeline(answered, response);
}

/** The binding reads the error from the answer, whatever its status. */
function refuse(response: ServerResponse, error: string): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ success: false, error }));
}

/** Reads what is left of a request's body: the runtime takes an answer before it has sent all as a lost connection. */
async function drained(request: IncomingMessage): Promise<void> {
  let left = 4 * D1.requestBytes;
  request.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) request.destroy();
  });
  if (!request.readableEnded && !request.destroyed) await once(request.resume(), 'close');
}

function picked({ headers }: IncomingMessage, names: string[]): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => (typeof headers[name] === 'string' ? [[name, headers[name]]] : [])),
  );
}
