/**
 * Spans of requests and subrequests, sent to a collector by OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/). Only processes
 * that trace import the SDK: it costs about 25 MB. Contexts cross processes as `traceparent` (https://www.w3.org/TR/trace-context/).
 */
import {
  type Attributes,
  DiagLogLevel,
  diag,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { parseTraceParent } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import { log } from '../model/log.ts';
import type { TraceSettings } from '../model/settings.ts';

export type { Span } from '@opentelemetry/api';

/** Spans that wait for the collector; what is above it is dropped. */
const MAX_QUEUE = 8_192;
const MAX_BATCH = 512;
const EXPORT_EVERY_MS = 1_000;
const EXPORT_TIMEOUT_MS = 10_000;
/** A collector that is down is told of this often. */
const COMPLAINT_INTERVAL_MS = 60_000;

export interface Tracer {
  /**
   * Begins a span. `traceparent`: the caller's, believed; a text that is none, or none at all, begins a trace of its own, sampled by the
   * settings' share. `startedAt`: ms since 1970.
   */
  begin(kind: 'server' | 'client', name: string, traceparent: string | undefined, startedAt: number): Span;
  /** Sends what waits, for at most ten seconds. */
  close(): Promise<void>;
}

/** `process`: name of this process, the instance in `service.instance.id`. */
export function createTracer(settings: TraceSettings, process: string, colo: string): Tracer {
  complainSeldom();
  const provider = new TracerProvider({
    resource: resourceFromAttributes({
      'service.name': 'selvedge',
      'service.instance.id': `${colo}/${process}`,
    }),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(settings.sample) }),
    spanProcessors: [
      new BatchSpanProcessor({
        exporter: new OTLPTraceExporter({
          url: settings.endpoint,
          headers: settings.headers,
          timeoutMillis: EXPORT_TIMEOUT_MS,
        }),
        maxQueueSize: MAX_QUEUE,
        maxExportBatchSize: MAX_BATCH,
        scheduledDelayMillis: EXPORT_EVERY_MS,
        exportTimeoutMillis: EXPORT_TIMEOUT_MS,
      }),
    ],
  });
  const tracer = provider.getTracer('selvedge');
  return {
    begin(kind, name, traceparent, startedAt) {
      const parent = traceparent === undefined ? null : parseTraceParent(traceparent);
      const context = parent ? trace.setSpanContext(ROOT_CONTEXT, { ...parent, isRemote: true }) : ROOT_CONTEXT;
      return tracer.startSpan(
        name,
        { kind: kind === 'server' ? SpanKind.SERVER : SpanKind.CLIENT, startTime: startedAt },
        context,
      );
    },
    async close() {
      await Promise.race([
        provider.shutdown().catch(() => undefined),
        new Promise((resolve) => setTimeout(resolve, EXPORT_TIMEOUT_MS).unref()),
      ]);
    },
  };
}

/** The header that continues this span's trace. */
export function traceparentOf(span: Span): string {
  const { traceId, spanId, traceFlags } = span.spanContext();
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`;
}

/** Ends a span. `error`: what went wrong on this side of it, by a short name. `endedAt`: ms since 1970. */
export function endSpan(span: Span, attributes: Attributes, error: string | null, endedAt: number): void {
  if (span.isRecording()) {
    span.setAttributes(attributes);
    if (error !== null) {
      span.setAttribute('error.type', error);
      span.setStatus({ code: SpanStatusCode.ERROR });
    }
  }
  span.end(endedAt);
}

/** The SDK reports failures of the export and dropped spans. */
function complainSeldom(): void {
  let lastAt = 0;
  const complain = (message: string) => {
    const now = Date.now();
    if (now - lastAt < COMPLAINT_INTERVAL_MS) return;
    lastAt = now;
    log('warn', 'traces do not reach their collector', { error: message.slice(0, 500) });
  };
  const silent = () => undefined;
  diag.setLogger({ error: complain, warn: complain, info: silent, debug: silent, verbose: silent }, DiagLogLevel.WARN);
}
