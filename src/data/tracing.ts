/** Spans of the subrequests that carry a `traceparent`, which traced Workers give to all of theirs (`system-workers/trace.js`). */
import type { TraceSettings } from '../model/settings.ts';
import { createTracer, endSpan, traceparentOf } from '../tracing/tracer.ts';
import type { Caller, Destination } from './destination.ts';
import { headerValue } from './headers.ts';

export interface Tracing {
  /**
   * Begins the span of a subrequest and puts it in the place of its caller's in `headers` (names and values in turn). Returns what ends
   * it, with the answer's status, or null if there was none. Null if the subrequest carries no trace.
   */
  begin(
    caller: Caller,
    method: string,
    url: URL,
    destination: Destination,
    headers: string[],
  ): ((status: number | null) => void) | null;
  close(): Promise<void>;
}

export function createTracing(settings: TraceSettings, colo: string): Tracing {
  const tracer = createTracer(settings, 'data', colo);
  return {
    begin({ accountId, script }, method, url, destination, headers) {
      const caller = headerValue(headers, 'traceparent');
      if (caller === undefined) return null;
      const beganAt = performance.now();
      const time = Date.now();
      const span = tracer.begin('client', method, caller, time);
      replace(headers, 'traceparent', traceparentOf(span));
      // By this the edge of this machine knows that the trace is one of its own.
      if (destination.local) addState(headers, `selvedge=${settings.secret}`);
      return (status) =>
        endSpan(
          span,
          {
            'http.request.method': method,
            'url.scheme': url.protocol.slice(0, -1),
            'url.path': url.pathname,
            'server.address': url.hostname,
            'server.port': destination.port,
            'http.response.status_code': status ?? undefined,
            'selvedge.account': accountId,
            'selvedge.script': script,
          },
          status === null ? 'no_answer' : status >= 400 ? String(status) : null,
          time + performance.now() - beganAt,
        );
    },
    close: () => tracer.close(),
  };
}

function replace(headers: string[], name: string, value: string): void {
  for (let i = headers.length - 2; i >= 0; i -= 2) if (headers[i]!.toLowerCase() === name) headers.splice(i, 2);
  headers.push(name, value);
}

function addState(headers: string[], state: string): void {
  const before = headerValue(headers, 'tracestate');
  replace(headers, 'tracestate', before ? `${state}, ${before}` : state);
}
