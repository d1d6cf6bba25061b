/**
 * The span of each request and the `traceparent` that its Worker gets. Whose trace is carried on: that of a trusted proxy, and that of a
 * subrequest of this machine, which names the secret of this start in `tracestate`. All others begin a trace of their own here: a
 * stranger's header would let it write into any trace, and choose what is recorded.
 */
import type { TraceSettings } from '../model/settings.ts';
import { createTracer, endSpan, type Span, type Tracer, traceparentOf } from '../tracing/tracer.ts';
import type { Head } from './headers.ts';
import type { RequestRecord } from './record.ts';

const TRACE_LINES = /^(?:traceparent|tracestate): .*\r\n/gim;
const TRACEPARENT = /^traceparent: (.*)\r\n/im;
const TRACESTATE = /^tracestate: (.*)\r\n/gim;

export class Tracing {
  readonly #tracer: Tracer;
  readonly #own: string;
  readonly #spans = new WeakMap<RequestRecord, Span>();

  constructor(settings: TraceSettings, process: string, colo: string) {
    this.#tracer = createTracer(settings, process, colo);
    this.#own = `selvedge=${settings.secret}`;
  }

  /** Begins the request's span and puts its `traceparent` among the headers that the Worker gets. */
  begin(record: RequestRecord, head: Head): void {
    const states = [...head.lines.matchAll(TRACESTATE)].flatMap(([, value]) =>
      value!.split(',').map((one) => one.trim()),
    );
    const isBelieved = record.client.forwarded || states.includes(this.#own);
    const caller = isBelieved ? TRACEPARENT.exec(head.lines)?.[1] : undefined;
    const span = this.#tracer.begin('server', head.method, caller, record.time);
    const kept = caller ? states.filter((state) => state !== '' && state !== this.#own).join(', ') : '';
    head.lines = `${head.lines.replace(TRACE_LINES, '')}traceparent: ${traceparentOf(span)}\r\n${kept ? `tracestate: ${kept}\r\n` : ''}`;
    this.#spans.set(record, span);
  }

  /** The request is over. */
  done(record: RequestRecord): void {
    const span = this.#spans.get(record);
    if (!span) return;
    const { head, client, version, status, outcome } = record;
    const failed = outcome !== 'ok' && outcome !== 'canceled';
    // https://opentelemetry.io/docs/specs/semconv/http/http-spans/ A query may hold secrets: it is left out, as in the request log.
    endSpan(
      span,
      {
        'http.request.method': head?.method,
        'url.scheme': client.scheme,
        'url.path': head?.path,
        'server.address': head?.host,
        'client.address': client.ip,
        'network.protocol.version': client.protocol.slice('HTTP/'.length),
        'http.response.status_code': status || undefined,
        'http.request.body.size': record.bytesIn,
        'http.response.body.size': record.bytesOut,
        'selvedge.ray': record.ray,
        'selvedge.outcome': outcome,
        'selvedge.account': version?.accountId,
        'selvedge.script': version?.script,
        'selvedge.version': version?.id,
        'selvedge.wake_ms': record.sentAt ? Math.round((record.sentAt - record.routedAt) * 1000) / 1000 : undefined,
      },
      failed ? outcome : status >= 500 ? String(status) : null,
      record.time + record.endedAt - record.beganAt,
    );
  }

  close(): Promise<void> {
    return this.#tracer.close();
  }
}
