/**
 * What producers of one isolate process talk to: the runtime's own protocol over HTTP on a socket of the process. The queue stands in a
 * header that the process's configuration adds; which ones the process may name was said when it was attached. An error is a status with
 * its reason, and its code and cause in headers: which of them the Worker sees depends on its compatibility date.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { log, reason } from '../../model/log.ts';
import type { Backlog } from '../../state/messages.ts';
import { DELAY_HEADER, QUEUE_HEADER } from './binding.ts';
import { checkBatch, checkSize, delayOf, formatOf, QUEUES, QueueError } from './limits.ts';
import type { Outgoing, Queue, Queues } from './queues.ts';

/** A whole batch as the runtime sends it: bodies in base64, and a few words for each. */
const MAX_BATCH_BODY = Math.ceil((QUEUES.batchBytes * 4) / 3) + QUEUES.batchMessages * 256;
/** Of a body that is refused: what is longer loses its connection. */
const MAX_DRAINED_BYTES = 64 * 1024 * 1024;

export interface QueueServiceOptions {
  queues: Queues;
  accountId: string;
  /** Ids that the process may name. */
  allowed: string[];
  /** Counts an operation; false above what requests may make. */
  take(): boolean | Promise<boolean>;
  /** There are new messages. */
  sent(queueId: string): void;
}

/** The server of a process's producers; the caller lets it listen. */
export function createQueueService(options: QueueServiceOptions): Server {
  const allowed = new Set(options.allowed);
  // The runtime decides how long connections are kept: closing idle ones would race with its next request.
  return createServer({ keepAliveTimeout: 0, requestTimeout: 0 }, (request, response) => {
    answer(options, allowed, request).then(
      (metrics) => sendJson(response, metrics),
      (error: unknown) => fail(response, error),
    );
  });
}

async function answer(options: QueueServiceOptions, allowed: Set<string>, request: IncomingMessage): Promise<unknown> {
  const { queues, accountId } = options;
  // First of all: the runtime takes an answer before it has sent everything as a lost connection.
  const { body, size } = await readBody(request, MAX_BATCH_BODY);
  const id = String(request.headers[QUEUE_HEADER]);
  const queue = allowed.has(id) ? queues.find(accountId, id) : null;
  if (!queue) throw new QueueError(10104, 'Queue does not exist');
  if (!(await options.take())) throw new QueueError(10250, 'Too many API requests by single Worker invocation.');
  const { pathname } = new URL(request.url!, 'http://queue');
  const asked = `${request.method} ${pathname}`;
  if (asked === 'GET /metrics') return metricsShape(queues.messages.backlog(queue.key));
  let outgoing: Outgoing[];
  if (asked === 'POST /message') {
    checkSize(size);
    outgoing = [{ body: body!, format: formatOf(request.headers['x-msg-fmt']), delay: delayIn(request) }];
  } else if (asked === 'POST /batch') outgoing = readBatch(request, queue, body);
  else throw new QueueError(10104, `there is no ${asked.slice(0, 64)} here`);
  const backlog = await queues.send(queue, outgoing);
  options.sent(queue.id);
  return { metadata: { metrics: metricsShape(backlog) } };
}

/** As the runtime reads it: milliseconds since 1970, 0 for none. */
function metricsShape({ count, bytes, oldest }: Backlog) {
  return { backlogCount: count, backlogBytes: bytes, oldestMessageTimestamp: oldest };
}

/** Of the whole request; a message's own wins over it, and the binding's stands in for it. */
function delayIn({ headers }: IncomingMessage): number | undefined {
  return delayOf(headers['x-msg-delay-secs'] ?? headers[DELAY_HEADER], 10202);
}

function readBatch(request: IncomingMessage, { id }: Queue, body: Buffer | null): Outgoing[] {
  const [count, bytes] = ['cf-queue-batch-count', 'cf-queue-batch-bytes'].map((name) => Number(request.headers[name]));
  if (!body)
    throw new QueueError(10205, `batch size of ${bytes || 'too many'} bytes exceeds limit of ${QUEUES.batchBytes}`);
  // Before the bodies are decoded.
  if (count! > QUEUES.batchMessages) checkBatch(new Array(count).fill(0));
  const ofBatch = delayIn(request);
  const messages = messagesIn(body);
  if (!messages) {
    log('warn', 'a batch of the runtime cannot be read', { queue: id });
    throw new QueueError(10208, 'the batch is not valid JSON');
  }
  const outgoing = messages.map(({ body, contentType, delaySecs }) => ({
    body: Buffer.from(body, 'base64'),
    format: formatOf(contentType),
    delay: delayOf(delaySecs, 10203) ?? ofBatch,
  }));
  checkBatch(outgoing.map(({ body }) => body.length));
  return outgoing;
}

interface BatchMessage {
  /** Base64. */
  body: string;
  contentType?: string;
  delaySecs?: number;
}

/** Null if it is no batch. */
function messagesIn(body: Buffer): BatchMessage[] | null {
  try {
    const { messages } = JSON.parse(body.toString()) as { messages: BatchMessage[] };
    return Array.isArray(messages) && messages.every((message) => typeof message?.body === 'string') ? messages : null;
  } catch {
    return null;
  }
}

/** Null if it is longer than `limit`; then it is read and forgotten. */
function readBody(request: IncomingMessage, limit: number): Promise<{ body: Buffer | null; size: number }> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= limit) chunks.push(chunk);
      else chunks.length = 0;
      if (size > MAX_DRAINED_BYTES) request.destroy();
    });
    request.once('end', () => resolve({ body: size <= limit ? Buffer.concat(chunks) : null, size }));
    request.once('error', reject);
    request.once('close', () => reject(new QueueError(10204, 'the connection was lost')));
  });
}

function sendJson(response: ServerResponse, value: unknown): void {
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length }).end(body);
}

function fail(response: ServerResponse, thrown: unknown): void {
  if (response.headersSent || response.destroyed) return void response.destroy();
  let error: QueueError;
  if (thrown instanceof QueueError) error = thrown;
  else {
    log('error', 'a queue failed', { error: reason(thrown) });
    error = new QueueError(15000, 'Unknown Internal Error');
  }
  const cause = error.message.replace(/[^ -~]/g, '?').slice(0, 300);
  response.writeHead(error.status, cause, { 'cf-queues-error-code': error.code, 'cf-queues-error-cause': cause });
  response.end();
}
