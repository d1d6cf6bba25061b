/**
 * Where the tail Worker inside an isolate process puts its trace items: JSON by POST, an array of them. Who sends is known by the
 * socket, so script and version are filled in here; sizes are bounded before anything goes on the bus.
 */
import { createServer, type Server } from 'node:http';
import { log } from '../model/log.ts';
import type { TailEvent } from '../model/messages.ts';

const MAX_BODY_BYTES = 4 * 1024 * 1024;
const MAX_EVENTS = 1000;
/** Logs of one invocation; more is cut off and `truncated` set (Workers Logs and tail: 128 KB, Real-time logs). */
export const MAX_LOG_BYTES = 128 * 1024;
const MAX_EXCEPTION_TEXT = 16 * 1024;
const MAX_EXCEPTIONS = 100;
const MAX_EVENT_BYTES = 128 * 1024;

export interface Source {
  script: string;
  versionId: string;
}

/** The server of `tail.sock`; `publish` gets each event. The caller lets it listen. */
export function createTailSink(source: Source, publish: (event: TailEvent) => void): Server {
  return createServer({ requireHostHeader: false, keepAliveTimeout: 0 }, (req, res) => {
    const chunks: Buffer[] = [];
    let size = 0;
    req.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= MAX_BODY_BYTES) chunks.push(chunk);
    });
    req.on('error', () => res.destroy());
    req.on('end', () => {
      if (size > MAX_BODY_BYTES) return void res.writeHead(413).end();
      let items: unknown;
      try {
        items = JSON.parse(Buffer.concat(chunks).toString('utf8'));
      } catch (error) {
        log('warn', 'trace items are not JSON', { script: source.script, error: String(error) });
        return void res.writeHead(400).end();
      }
      for (const item of (Array.isArray(items) ? items : [items]).slice(0, MAX_EVENTS)) {
        const event = toTailEvent(item, source);
        if (event) publish(event);
      }
      res.writeHead(204).end();
    });
  });
}

/** A trace item as wrangler prints it, with every part bounded; null if it is no object. */
export function toTailEvent(value: unknown, { script, versionId }: Source): TailEvent | null {
  if (!isRecord(value)) return null;
  let truncated = value.truncated === true;

  const logs: TailEvent['logs'] = [];
  let logBytes = 0;
  for (const entry of list(value.logs)) {
    if (!isRecord(entry)) continue;
    const message = Array.isArray(entry.message) ? entry.message : [entry.message];
    logBytes += Buffer.byteLength(JSON.stringify(message) ?? '');
    if (logBytes > MAX_LOG_BYTES) {
      truncated = true;
      break;
    }
    logs.push({ message, level: text(entry.level, 'log'), timestamp: number(entry.timestamp) });
  }

  const exceptions: TailEvent['exceptions'] = [];
  for (const entry of list(value.exceptions).slice(0, MAX_EXCEPTIONS)) {
    if (!isRecord(entry)) continue;
    const stack = typeof entry.stack === 'string' ? { stack: entry.stack.slice(0, MAX_EXCEPTION_TEXT) } : {};
    exceptions.push({
      name: text(entry.name, 'Error').slice(0, 256),
      message: text(entry.message, '').slice(0, MAX_EXCEPTION_TEXT),
      ...stack,
      timestamp: number(entry.timestamp),
    });
  }

  const event = isRecord(value.event) ? withoutInternalHeaders(value.event) : null;
  const fits = (part: unknown) => Buffer.byteLength(JSON.stringify(part)) <= MAX_EVENT_BYTES;
  const eventFits = fits(event);
  const diagnostics = list(value.diagnosticsChannelEvents);
  const diagnosticsFit = fits(diagnostics);
  return {
    outcome: text(value.outcome, 'unknown').slice(0, 64),
    scriptName: script,
    scriptVersion: { id: versionId },
    ...(typeof value.entrypoint === 'string' && { entrypoint: value.entrypoint.slice(0, 256) }),
    diagnosticsChannelEvents: diagnosticsFit ? diagnostics : [],
    exceptions,
    logs,
    eventTimestamp: number(value.eventTimestamp),
    event: eventFits ? event : null,
    truncated: truncated || !eventFits || !diagnosticsFit,
    executionModel: text(value.executionModel, 'stateless').slice(0, 64),
  };
}

function withoutInternalHeaders(event: Record<string, unknown>): Record<string, unknown> {
  if (!isRecord(event.request) || !isRecord(event.request.headers)) return event;
  const headers = Object.fromEntries(
    Object.entries(event.request.headers).filter(([name]) => !name.toLowerCase().startsWith('selvedge-')),
  );
  return { ...event, request: { ...event.request, headers } };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown, otherwise: string): string {
  return typeof value === 'string' ? value : otherwise;
}

function number(value: unknown): number {
  return typeof value === 'number' ? value : Date.now();
}
