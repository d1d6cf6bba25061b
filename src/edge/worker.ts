/**
 * The request goes to an isolate process and its answer comes back, both streamed. This is the hot path: one pass over the headers, one
 * string for the head, no promise unless the Worker has to be woken.
 */
import type { Readable } from 'node:stream';
import { log, reason } from '../model/log.ts';
import type { Requests, TailEvent, Verdict } from '../model/messages.ts';
import type { Bus } from '../state/bus.ts';
import { type EdgeError, sendError } from './error-pages.ts';
import type { Head } from './headers.ts';
import type { Client } from './identify.ts';
import type { Instance } from './instance.ts';
import type { UpstreamError } from './isolate-client.ts';
import type { Reply } from './reply.ts';
import { UNCAUGHT } from './response-parser.ts';
import type { Snapshot, VersionDoc } from './snapshot.ts';

const MAX_TRIES = 4;
const VERDICT_TIMEOUT_MS = 1_000;

/** A request on its way: what the stages have found out so far. */
export interface Passage {
  head: Head;
  body: Readable;
  client: Client;
  /** `<ray>-<COLO>`. */
  ray: string;
  reply: Reply;
  version: VersionDoc;
  /** ms since 1970 when the request came. */
  time: number;
}

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
      (error: unknown) => {
        log('warn', 'a Worker could not be woken', { version: passage.version.id, error: reason(error) });
        sendError(passage.reply, passage.head, passage.ray, 'doesNotStart');
      },
    );
  }
}

/** The head of the request as the process gets it. */
export function workerHead(passage: Passage): string {
  const { head, client, ray } = passage;
  return `${head.method} ${head.target} HTTP/1.1\r\n${head.lines}${client.lines}CF-Ray: ${ray}\r\n`;
}

function send(snapshot: Snapshot, bus: Bus, passage: Passage, instance: Instance, tries: number): void {
  const { head, reply } = passage;
  const hasBody = head.bodyLength !== 0;
  const framing = hasBody ? (head.bodyLength === null ? 'Transfer-Encoding: chunked\r\n' : `Content-Length: ${head.bodyLength}\r\n`) : '';
  let finished = false;
  let uncaught = false;
  snapshot.instances.begin(instance);
  const finish = () => {
    if (finished) return;
    finished = true;
    snapshot.instances.end(instance);
  };
  const exchange = instance.client.send(
    head.method,
    `${workerHead(passage)}${framing}\r\n`,
    hasBody ? { stream: passage.body, length: head.bodyLength } : null,
    {
      onHead(status, statusText, headers) {
        if (statusText === UNCAUGHT) {
          uncaught = true;
          sendError(reply, head, passage.ray, 'exception');
          return;
        }
        headers.push('CF-Ray', passage.ray, 'Server', 'selvedge');
        reply.head(status, headers);
      },
      onData(chunk) {
        // The runtime's body for an exception is dropped: the page went out instead.
        return uncaught ? true : reply.write(chunk);
      },
      onEnd() {
        finish();
        if (!uncaught) reply.end();
      },
      onError(error) {
        finish();
        onUpstreamError(snapshot, bus, passage, instance, error, tries);
      },
    },
  );
  reply.onDrain(() => exchange.resume());
  reply.onGone(() => {
    if (finished) return;
    finish();
    exchange.abort();
  });
}

function onUpstreamError(snapshot: Snapshot, bus: Bus, passage: Passage, instance: Instance, error: UpstreamError, tries: number) {
  const { head, reply, ray } = passage;
  if (error.kind === 'busy') return sendError(reply, head, ray, 'busy');
  const untouched = !reply.started && head.bodyLength === 0;
  // Never reached the process; or a kept connection that the process had closed in the same moment, for a request that may be repeated
  // (RFC 9110, 9.2.2).
  const repeatable = error.reused && (head.method === 'GET' || head.method === 'HEAD');
  if (error.kind === 'connect') snapshot.instances.drop(passage.version.id, instance);
  if (untouched && (error.kind === 'connect' || (error.kind === 'lost' && repeatable && !instance.removed))) {
    return retry(snapshot, bus, passage, tries);
  }
  void explain(snapshot, bus, passage, instance);
}

function retry(snapshot: Snapshot, bus: Bus, passage: Passage, tries: number): void {
  if (tries + 1 < MAX_TRIES) askWorker(snapshot, bus, passage, tries + 1);
  else sendError(passage.reply, passage.head, passage.ray, 'edge');
}

/** The process died with the request: the supervisor knows why. */
async function explain(snapshot: Snapshot, bus: Bus, passage: Passage, instance: Instance): Promise<void> {
  let verdict: Verdict = 'unknown';
  try {
    const asked = { isolate: instance.ref.id };
    const answer: Requests['local.verdict'][1] = await bus.request('local.verdict', asked, { timeoutMs: VERDICT_TIMEOUT_MS });
    verdict = answer.verdict;
  } catch (error) {
    log('warn', 'no verdict on a lost request', { isolate: instance.ref.id, error: reason(error) });
  }
  sendError(passage.reply, passage.head, passage.ray, VERDICT_ERRORS[verdict]);
  if (snapshot.instances.isTailed(passage.version.id)) {
    bus.publish(`tail.${passage.version.accountId}.${passage.version.script}`, tailEvent(passage, verdict));
  }
}

const REDACTED = /^(authorization|cookie|proxy-authorization)$|auth|key|secret|token|jwt/i;

/** The trace of a request whose process died: its own tail Worker died with it. */
function tailEvent({ head, client, version, time }: Passage, verdict: Verdict): TailEvent {
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
    eventTimestamp: time,
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
