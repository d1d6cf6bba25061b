/**
 * Tail sessions (`wrangler tail`): made and ended over the API, read over a WebSocket whose URL holds a secret, because wrangler
 * sends no token there. While somebody listens, the PoP is asked again and again to trace the script; so tracing ends by itself
 * when this process is gone. Sessions live in memory: after a restart wrangler makes another.
 */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Duplex } from 'node:stream';
import { getConnInfo } from '@hono/node-server/conninfo';
import { z } from '@hono/zod-openapi';
import { type WebSocket, WebSocketServer } from 'ws';
import { keys } from '../model/keys.ts';
import { LIMITS } from '../model/limits.ts';
import { log, reason } from '../model/log.ts';
import type { TailEvent } from '../model/messages.ts';
import { type ApiContext, type App, define } from './app.ts';
import type { CoreContext } from './context.ts';
import { ApiError } from './errors.ts';
import { lenientFrames, MAX_FRAME_BYTES } from './lenient-frames.ts';
import { passes, resolveSelf, type TailFilter, TailFilters } from './tail-filters.ts';
import { createReader, type Reader } from './tail-reader.ts';

const SUBPROTOCOL = 'trace-v1';
const SOCKET_PREFIX = '/tail/';
const SESSION_MS = 6 * 3600_000;
/** A session that nobody listens to ends after this: a client that died did not delete it, and would use up the limit. */
const UNUSED_MS = 60_000;
const TRACE_SECONDS = 60;
const RENEW_MS = 20_000;
const TRACE_TIMEOUT_MS = 10_000;

interface Session {
  id: string;
  accountId: string;
  script: string;
  secretHash: string;
  filters: TailFilter[];
  expiresAt: number;
  reader: Reader | null;
  /** Taken by a connection, perhaps one that is still being opened. */
  taken: boolean;
  timer: NodeJS.Timeout;
}

/** One script that is listened to. */
interface Trace {
  listeners: number;
  timer: NodeJS.Timeout;
  unsubscribe: () => void;
}

/** Adds the endpoints, and the WebSocket endpoint `/tail/<secret>`. `close` ends all sessions (1001: going away). */
export function registerTails(app: App, context: CoreContext): { close(): void } {
  const sessions = new Map<string, Session>();
  const traces = new Map<string, Trace>();
  const sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: MAX_FRAME_BYTES,
    handleProtocols: () => SUBPROTOCOL,
  });
  const path = '/accounts/{account_id}/workers/scripts/{script_name}/tails';

  define(app, context, { method: 'get', path, summary: 'Lists the tail sessions of a Worker' }, async (call) => {
    const script = await existing(call.account.id, call.params.script_name!);
    return sessionsOf(call.account.id, script).map(({ id, expiresAt }) => ({ id, expires_at: iso(expiresAt) }));
  });

  define(
    app,
    context,
    { method: 'post', path, summary: 'Starts a tail session', body: z.object({ filters: TailFilters.optional() }) },
    async ({ c, account, params, body }) => {
      const script = await existing(account.id, params.script_name!);
      if (sessionsOf(account.id, script).length >= LIMITS.tailSessionsPerScript) {
        throw new ApiError(10063, `Worker ${script} has ${LIMITS.tailSessionsPerScript} tail sessions already.`);
      }
      const secret = randomBytes(32).toString('base64url');
      const session: Session = {
        id: randomUUID().replaceAll('-', ''),
        accountId: account.id,
        script,
        secretHash: hash(secret),
        filters: resolveSelf(body.filters ?? [], clientIp(c)),
        expiresAt: Date.now() + SESSION_MS,
        reader: null,
        taken: false,
        timer: setTimeout(() => end(session, 1000), UNUSED_MS).unref(),
      };
      sessions.set(session.secretHash, session);
      return { id: session.id, url: socketUrl(c, secret), expires_at: iso(session.expiresAt) };
    },
  );

  define(
    app,
    context,
    { method: 'delete', path: `${path}/{tail_id}`, summary: 'Ends a tail session' },
    ({ account, params }) => {
      const session = sessionsOf(account.id, params.script_name!).find(({ id }) => id === params.tail_id);
      if (!session) throw new ApiError(10065, `There is no tail session ${params.tail_id} on this Worker.`);
      end(session, 1000);
      return null;
    },
  );

  context.onUpgrade(SOCKET_PREFIX, (request, socket, head) => {
    socket.on('error', () => socket.destroy());
    const secret = (request.url ?? '').slice(SOCKET_PREFIX.length).split('?')[0] ?? '';
    const session = sessions.get(hash(secret));
    if (!session) return refuse(socket, '404 Not Found');
    if (session.taken) return refuse(socket, '409 Conflict');
    if (!offersSubprotocol(request)) return refuse(socket, '400 Bad Request');
    session.taken = true;
    clearTimeout(session.timer);
    session.timer = setTimeout(() => end(session, 1000), session.expiresAt - Date.now()).unref();
    accept(session, request, socket, head).catch((error: unknown) => {
      log('error', 'a tail session failed', { script: session.script, error: reason(error) });
      socket.destroy();
    });
  });

  /** Opens the WebSocket when requests are traced: what happens after "connected" is seen. */
  async function accept(session: Session, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const release = await listen(session);
    socket.once('close', () => {
      release();
      end(session, 1000);
    });
    if (socket.destroyed || !sessions.has(session.secretHash)) {
      socket.destroy();
      release();
      return end(session, 1000);
    }
    const frames = lenientFrames();
    frames.on('error', () => socket.destroy());
    if (head.length > 0) frames.write(head);
    const stream = Duplex.from({ readable: socket.pipe(frames), writable: socket });
    stream.on('error', () => socket.destroy());
    sockets.handleUpgrade(request, stream, Buffer.alloc(0), (webSocket: WebSocket) => {
      webSocket.on('error', (error) => log('info', 'a tail client broke the protocol', { error: reason(error) }));
      session.reader = createReader(webSocket);
    });
  }

  /** Has the script traced until the returned function is called. */
  async function listen({ accountId, script }: Session): Promise<() => void> {
    const name = `${accountId}/${script}`;
    const trace = traces.get(name) ?? startTrace(accountId, script);
    traces.set(name, trace);
    trace.listeners++;
    await requestTrace(accountId, script, TRACE_SECONDS);
    let released = false;
    return () => {
      if (released) return;
      released = true;
      if (--trace.listeners > 0) return;
      traces.delete(name);
      clearInterval(trace.timer);
      trace.unsubscribe();
      void requestTrace(accountId, script, 0);
    };
  }

  function startTrace(accountId: string, script: string): Trace {
    return {
      listeners: 0,
      timer: setInterval(() => void requestTrace(accountId, script, TRACE_SECONDS), RENEW_MS).unref(),
      unsubscribe: context.bus.subscribe(`tail.${accountId}.${script}`, (event: TailEvent) => {
        for (const session of sessionsOf(accountId, script)) {
          if (session.reader && passes(event, session.filters, Math.random())) session.reader.send(event);
        }
      }),
    };
  }

  async function requestTrace(accountId: string, script: string, seconds: number): Promise<void> {
    try {
      await context.bus.request('pop.tail', { accountId, script, seconds }, { timeoutMs: TRACE_TIMEOUT_MS });
    } catch (error) {
      log('warn', 'tracing could not be changed', { accountId, script, seconds, error: reason(error) });
    }
  }

  function end(session: Session, code: number): void {
    clearTimeout(session.timer);
    sessions.delete(session.secretHash);
    session.reader?.close(code);
    session.reader = null;
  }

  function sessionsOf(accountId: string, script: string): Session[] {
    return [...sessions.values()].filter((each) => each.accountId === accountId && each.script === script);
  }

  async function existing(accountId: string, script: string): Promise<string> {
    if (await context.ledger.get(keys.script(accountId, script))) return script;
    throw new ApiError(10007, `This Worker does not exist on your account: ${script}`);
  }

  return {
    close() {
      for (const session of sessions.values()) end(session, 1001);
      for (const trace of traces.values()) clearInterval(trace.timer);
    },
  };
}

/** The address that the client used leads here again. */
function socketUrl(c: ApiContext, secret: string): string {
  const { protocol, host } = new URL(c.req.url);
  return `${protocol === 'https:' ? 'wss:' : 'ws:'}//${host}${SOCKET_PREFIX}${secret}`;
}

/** As the edge writes it in CF-Connecting-IP: IPv4 without the IPv6 prefix of dual-stack sockets. */
function clientIp(c: ApiContext): string {
  return (getConnInfo(c).remote.address ?? '').replace(/^::ffff:(?=\d+\.)/, '');
}

function offersSubprotocol(request: IncomingMessage): boolean {
  const offered = request.headers['sec-websocket-protocol'] ?? '';
  return offered.split(',').some((protocol) => protocol.trim() === SUBPROTOCOL);
}

function refuse(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
}

function hash(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

function iso(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
