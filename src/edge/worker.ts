/**
 * The request goes to an isolate process and its answer comes back, both streamed. This is the hot path: one pass over the headers, one
 * string for the head, no promise unless the Worker has to be woken.
 */
import type { Readable } from 'node:stream';
import { machineMs } from '../model/clock.ts';
import { log, reason } from '../model/log.ts';
import type { Requests, TailEvent, Verdict } from '../model/messages.ts';
import { type Bus, NoResponder, RequestTimeout } from '../state/bus.ts';
import { type EdgeError, sendError } from './error-pages.ts';
import type { Head } from './headers.ts';
import type { Client } from './identify.ts';
import type { Instance } from './instance.ts';
import type { UpstreamError } from './isolate-client.ts';
import type { Reply } from './reply.ts';
import { UNCAUGHT } from './response-parser.ts';
import type { Snapshot, VersionDoc } from './snapshot.ts';

/** How many processes one request tries. */
export const MAX_TRIES = 4;
const VERDICT_TIMEOUT_MS = 1_000;

/** A request on its way: what the stages have found out so far. */
export interface Passage {
  head: Head;
  body: Readable;
  /** Of the body; what is longer is refused. */
  maxBodyBytes: number;
  client: Client;
  /** `<ray>-<COLO>`. */
  ray: string;
  reply: Reply;
  version: VersionDoc;
}

/** Verdicts after which a repeatable request is tried once more. Over a limit it would only burn as much again. */
const REPEATED = new Set<Verdict>(['drained', 'exception']);

const VERDICT_ERRORS: Record<Verdict, EdgeError> = {
  exceededCpu: 'exceededCpu',
  exceededMemory: 'exceededMemory',
  exception: 'exception',
  drained: 'exception',
  unknown: 'exception',
};

/** Asks a process of the version; wakes one if none runs. */
export function askWorker(snapshot: Snapshot, bus: Bus, passage: Passage, tries = 0): void {
  const instance = snapshot.instances.pick(passage.version.id);
  if (instance) send(snapshot, bus, passage, instance, tries);
  else {
    snapshot.instances.wake(passage.version.id).then(
      () => {
        const woken = snapshot.instances.pick(passage.version.id);
        if (woken) send(snapshot, bus, passage, woken, tries);
        else retry(snapshot, bus, passage, tries);
      },
      (error: unknown) => sendWakeError(passage, error),
    );
  }
}

/** The Worker did not start. What the runtime said is for its owner (the log, `wrangler deploy`), not for eyeballs. */
export function sendWakeError({ reply, head, ray, version }: Passage, error: unknown): void {
  log('warn', 'a Worker could not be woken', { version: version.id, error: reason(error) });
  if (error instanceof NoResponder) sendError(reply, head, ray, 'edge');
  else sendError(reply, head, ray, 'doesNotStart', error instanceof RequestTimeout ? 'It took too long.' : '');
}

/** The head of the request as the process gets it. */
export function workerHead(passage: Passage): string {
  const { head, client, ray } = passage;
  return `${head.method} ${head.target} HTTP/1.1\r\n${head.lines}${client.lines}CF-Ray: ${ray}\r\n`;
}

function send(snapshot: Snapshot, bus: Bus, passage: Passage, instance: Instance, tries: number): void {
  const { head, reply } = passage;
  // It left while a process was woken: nobody would end the exchange.
  if (reply.gone) {
    reply.record.end('canceled');
    return;
  }
  reply.record.sentAt = performance.now();
  const hasBody = head.bodyLength !== 0;
  const framing = hasBody
    ? head.bodyLength === null
      ? 'Transfer-Encoding: chunked\r\n'
      : `Content-Length: ${head.bodyLength}\r\n`
    : '';
  let finished = false;
  let uncaught = false;
  let ended = false;
  snapshot.instances.begin(instance);
  const finish = () => {
    if (finished) return;
    finished = true;
    snapshot.instances.end(instance);
  };
  const exchange = instance.client.send(
    head.method,
    `${workerHead(passage)}${framing}\r\n`,
    hasBody
      ? { stream: passage.body, length: head.bodyLength, maxBytes: passage.maxBodyBytes, counter: reply.record }
      : null,
    {
      onHead(status, statusText, headers) {
        if (statusText === UNCAUGHT) {
          uncaught = true;
          sendError(reply, head, passage.ray, 'exception');
          return;
        }
        reply.head(status, signed(headers, passage.ray));
      },
      onData(chunk, last) {
        // The runtime's body for an exception is dropped: the page went out instead.
        if (uncaught) return true;
        if (!last) return reply.write(chunk);
        ended = true;
        reply.end(chunk);
        return true;
      },
      onEnd() {
        finish();
        if (!uncaught && !ended) reply.end();
      },
      onError(error) {
        finish();
        onUpstreamError(snapshot, bus, passage, instance, error, tries);
      },
    },
  );
  // The connection may serve another request by then.
  reply.onDrain(() => {
    if (!finished) exchange.resume();
  });
  reply.onGone(() => {
    if (finished) return;
    finish();
    exchange.abort();
  });
}

function onUpstreamError(
  snapshot: Snapshot,
  bus: Bus,
  passage: Passage,
  instance: Instance,
  error: UpstreamError,
  tries: number,
) {
  const { head, reply, ray, version } = passage;
  log('debug', 'a request was not answered', {
    version: version.id,
    isolate: instance.ref.id,
    kind: error.kind,
    error: error.message,
  });
  switch (error.kind) {
    case 'busy':
      return sendError(reply, head, ray, 'busy');
    case 'eyeball':
      if (reply.gone) return reply.record.end('canceled');
      return sendError(reply, head, ray, 'badRequest', 'The body ended before its end.');
    case 'tooLarge':
      return sendError(reply, head, ray, 'tooLarge');
    case 'bad':
      return sendError(reply, head, ray, 'exception');
    case 'connect':
      snapshot.instances.drop(version.id, instance);
      return retry(snapshot, bus, passage, tries);
    case 'lost': {
      // RFC 9110, 9.2.2: a request that may be repeated, on a kept connection that the process may have left in the same moment.
      const repeatable =
        error.reused && tries === 0 && head.bodyLength === 0 && (head.method === 'GET' || head.method === 'HEAD');
      // What was begun cannot be completed: no waiting for the reason.
      if (reply.started) reply.cut();
      void verdictOn(bus, instance, reply.record.sentAt).then(({ verdict, unseen }) => {
        // It may still take connections while it dies.
        if (verdict !== 'unknown' && verdict !== 'drained') snapshot.instances.drop(version.id, instance);
        const again = unseen ? head.bodyLength === 0 : repeatable && REPEATED.has(verdict);
        if (again && !reply.started) retry(snapshot, bus, passage, tries);
        else sendVerdict(snapshot, bus, passage, verdict);
      });
    }
  }
}

function retry(snapshot: Snapshot, bus: Bus, passage: Passage, tries: number): void {
  if (tries + 1 < MAX_TRIES) askWorker(snapshot, bus, passage, tries + 1);
  else sendError(passage.reply, passage.head, passage.ray, 'edge');
}

/**
 * The process dropped a request that was sent at `sentAt` (performance.now()): the supervisor knows why. `unseen`: it had been killed
 * before, so the Worker never saw the request. Never rejects.
 */
export async function verdictOn(
  bus: Bus,
  instance: Instance,
  sentAt: number,
): Promise<{ verdict: Verdict; unseen: boolean }> {
  try {
    const asked = { isolate: instance.ref.id };
    const { verdict, killedAt }: Requests['local.verdict'][1] = await bus.request('local.verdict', asked, {
      timeoutMs: VERDICT_TIMEOUT_MS,
    });
    return { verdict, unseen: killedAt !== null && killedAt < machineMs(sentAt) };
  } catch (error) {
    log('warn', 'no verdict on a lost request', { isolate: instance.ref.id, error: reason(error) });
    return { verdict: 'unknown', unseen: false };
  }
}

/** The page of the verdict, and its trace for those who tail the script. */
export function sendVerdict(snapshot: Snapshot, bus: Bus, passage: Passage, verdict: Verdict): void {
  const { reply, head, ray, version } = passage;
  sendError(reply, head, ray, VERDICT_ERRORS[verdict]);
  // A process that lives, or that ended in order, has told its tail itself.
  const silent = verdict === 'exceededCpu' || verdict === 'exceededMemory' || verdict === 'exception';
  if (silent && snapshot.instances.isTailed(version.id)) {
    bus.publish(`tail.${version.accountId}.${version.script}`, tailEvent(passage, verdict));
  }
}

/** The Worker's headers with the edge's own instead of what the Worker says under those names. */
export function signed(headers: string[], ray: string): string[] {
  for (let i = headers.length - 2; i >= 0; i -= 2) {
    if (headers[i]!.length === 6 && /^(?:server|cf-ray)$/i.test(headers[i]!)) headers.splice(i, 2);
  }
  headers.push('CF-Ray', ray, 'Server', 'selvedge');
  return headers;
}

const REDACTED = /^(authorization|cookie|proxy-authorization)$|auth|key|secret|token|jwt/i;

/** The trace of a request whose process died: its own tail Worker died with it. */
function tailEvent({ head, client, version, reply }: Passage, verdict: Verdict): TailEvent {
  const headers = Object.fromEntries(
    head.pairs().map(([name, value]) => [name.toLowerCase(), REDACTED.test(name) ? 'REDACTED' : value]),
  );
  return {
    outcome: verdict === 'exceededCpu' || verdict === 'exceededMemory' ? verdict : 'exception',
    scriptName: version.script,
    scriptVersion: { id: version.id },
    diagnosticsChannelEvents: [],
    exceptions: [],
    logs: [],
    eventTimestamp: reply.record.time,
    event: {
      request: {
        url: `${client.scheme}://${head.authority}${head.target}`,
        method: head.method,
        headers: { ...headers, 'cf-connecting-ip': client.ip },
        cf: client.cfObject,
      },
    },
    truncated: false,
    executionModel: 'stateless',
  };
}
