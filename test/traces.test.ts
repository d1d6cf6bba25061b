/** OpenTelemetry: what a collector gets by OTLP/HTTP of requests and subrequests, and which `traceparent` Workers and origins see. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { after, describe, it } from 'node:test';
import { type Edge, eventually, startEdge } from './harness.ts';
import { startOrigin } from './origin.ts';

interface Span {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  /** 2: server, 3: client. */
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  status: { code?: number };
  attributes: Record<string, unknown>;
  instance: unknown;
}

/** Of the collector, in the order of their arrival. */
const spans: Span[] = [];
const exports: IncomingHttpHeaders[] = [];
const plain = (attributes: { key: string; value: Record<string, unknown> }[]) =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
const collector = createServer((req, res) => {
  exports.push(req.headers);
  void json(req).then((body: any) => {
    for (const { resource, scopeSpans } of body.resourceSpans) {
      const instance = plain(resource.attributes)['service.instance.id'];
      for (const span of scopeSpans.flatMap((scope: any) => scope.spans)) {
        spans.push({ ...span, attributes: plain(span.attributes), instance });
      }
    }
    res.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });
}).listen(0, '127.0.0.1');
await once(collector, 'listening');
const endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}/v1/traces`;
after(() => {
  collector.closeAllConnections();
  collector.close();
});

const heard: Record<string, IncomingHttpHeaders> = {};
const origin = await startOrigin((req, res) => {
  heard[req.url!] = req.headers;
  res.writeHead(req.url === '/broken' ? 503 : 200).end('from the origin');
});
after(() => origin.close());

const open = (listen: Record<string, unknown>, sample = 1) =>
  startEdge({
    config: {
      traces: { endpoint, sample, headers: { 'x-tenant': 'edge' } },
      egress: { allow: ['127.0.0.0/8'] },
      listen,
    },
  });
const [edge, trusting, unsampled] = await Promise.all([
  open({}),
  open({ trusted_proxies: ['127.0.0.0/8', '::1'] }),
  open({}, 0),
]);
after(() => Promise.all([edge.close(), trusting.close(), unsampled.close()]));

async function deploy(to: Edge, name: string, source: string, config: Record<string, unknown> = {}) {
  const cwd = await to.project(
    { name, main: 'index.js', compatibility_date: '2026-11-01', ...config },
    { 'index.js': source },
  );
  await to.deployed(['deploy'], { cwd });
  return to.host(name);
}

/** Fetches what `to` says, or says what it was asked. */
const FETCHER = `export default { async fetch(request, env) {
  const to = new URL(request.url).searchParams.get('to');
  if (to === 'binding') return env.OTHER.fetch('https://other/');
  return to ? fetch(to) : Response.json(Object.fromEntries(request.headers)) } }`;
const host = await deploy(edge, 'front', FETCHER);
const other = await deploy(edge, 'other', FETCHER);
const bound = await deploy(edge, 'bound', FETCHER, { services: [{ binding: 'OTHER', service: 'other' }] });
const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-0([01])$/;
const STRANGER = '00-11111111111111111111111111111111-2222222222222222-01';

const spanOf = (where: (span: Span) => boolean) => eventually(() => spans.find(where));
const rayOf = (answer: { headers: Record<string, unknown> }) => (span: Span) =>
  span.attributes['selvedge.ray'] === answer.headers['cf-ray'];

describe('a traced edge', () => {
  it('sends a span of each request, with what the request log has and no query', async () => {
    const answer = await edge.request(host, '/path?secret=1', { method: 'POST', body: 'abc' });
    const span = await spanOf(rayOf(answer));
    assert.deepEqual([span.kind, span.name, span.parentSpanId ?? ''], [2, 'POST', '']);
    assert.match(String(span.instance), /^dev\/edge-\d/);
    const { attributes } = span;
    assert.deepEqual(
      [
        attributes['http.request.method'],
        attributes['url.path'],
        attributes['server.address'],
        Number(attributes['http.response.status_code']),
        attributes['selvedge.outcome'],
        attributes['selvedge.script'],
        Number(attributes['http.request.body.size']),
      ],
      ['POST', '/path', host, 200, 'ok', 'front', 3],
    );
    assert.doesNotMatch(JSON.stringify(span), /secret/);
    const took = Number(BigInt(span.endTimeUnixNano) - BigInt(span.startTimeUnixNano)) / 1e6;
    assert.ok(took > 0 && took < 60_000, String(took));
    assert.equal(exports[0]!['x-tenant'], 'edge');
  });

  it('gives the Worker the span as its traceparent', async () => {
    const answer = await edge.request(host, '/');
    const [, traceId, spanId, flags] = TRACEPARENT.exec(answer.json().traceparent)!;
    const span = await spanOf(rayOf(answer));
    assert.deepEqual([span.traceId, span.spanId, flags], [traceId, spanId, '1']);
  });

  it('believes no stranger’s traceparent, nor a tracestate that looks like its own', async () => {
    const answer = await edge.request(host, '/', {
      headers: { traceparent: STRANGER, tracestate: 'selvedge=0123456789abcdef0123456789abcdef,vendor=1' },
    });
    const { traceparent, tracestate } = answer.json();
    assert.doesNotMatch(traceparent, /1{32}/);
    assert.equal(tracestate, undefined);
  });

  it('marks what failed', async () => {
    const answer = await edge.request('nobody.example.com', '/');
    const span = await spanOf(rayOf(answer));
    assert.deepEqual([span.status.code, span.attributes['error.type']], [2, 'unknownHost']);
  });

  it('follows a subrequest to its origin: request, subrequest, and what the origin is told', async () => {
    const answer = await edge.request(host, `/?to=${encodeURIComponent(`${origin.url}/leaf?q=1`)}`);
    assert.equal(answer.text, 'from the origin');
    const server = await spanOf(rayOf(answer));
    const client = await spanOf((span) => span.kind === 3 && span.parentSpanId === server.spanId);
    assert.equal(client.traceId, server.traceId);
    const [, traceId, spanId] = TRACEPARENT.exec(String(heard['/leaf?q=1']!.traceparent))!;
    assert.deepEqual([traceId, spanId], [client.traceId, client.spanId]);
    assert.equal(heard['/leaf?q=1']!.tracestate, undefined);
    assert.deepEqual(
      [client.attributes['url.path'], Number(client.attributes['http.response.status_code']), client.instance],
      ['/leaf', 200, 'dev/data'],
    );
  });

  it('marks subrequests that failed', async () => {
    const answer = await edge.request(host, `/?to=${encodeURIComponent(`${origin.url}/broken`)}`);
    const server = await spanOf(rayOf(answer));
    const client = await spanOf((span) => span.kind === 3 && span.parentSpanId === server.spanId);
    assert.deepEqual([client.status.code, client.attributes['error.type']], [2, '503']);
  });

  it('follows a subrequest to another Worker, by its host and by a binding', async () => {
    const byHost = await edge.request(host, `/?to=${encodeURIComponent(`http://${other}/`)}`);
    const first = await spanOf(rayOf(byHost));
    const second = await spanOf(
      (span) => span.attributes['selvedge.script'] === 'other' && span.traceId === first.traceId && span.kind === 2,
    );
    const between = await spanOf((span) => span.spanId === second.parentSpanId);
    assert.equal(between.parentSpanId, first.spanId);
    assert.equal(byHost.json().tracestate, undefined, 'the secret of the machine is for its edges only');
    const byBinding = await edge.request(bound, '/?to=binding');
    const span = await spanOf(rayOf(byBinding));
    assert.equal(byBinding.json().traceparent, `00-${span.traceId}-${span.spanId}-01`);
  });

  it('carries on the trace of a trusted proxy, its sampling and its tracestate', async () => {
    const there = await deploy(trusting, 'front', FETCHER);
    const headers = { traceparent: STRANGER, tracestate: 'vendor=1', 'x-forwarded-for': '203.0.113.9' };
    const answer = await trusting.request(there, '/', { headers });
    const span = await spanOf(rayOf(answer));
    assert.deepEqual([span.traceId, span.parentSpanId], ['1'.repeat(32), '2'.repeat(16)]);
    assert.equal(answer.json().tracestate, 'vendor=1');
    const dark = await trusting.request(there, '/', {
      headers: { ...headers, traceparent: STRANGER.replace(/1$/, '0') },
    });
    assert.match(dark.json().traceparent, /^00-1{32}-[0-9a-f]{16}-00$/);
  });

  it('records the share that it is told to, and says so to Workers', async () => {
    const there = await deploy(unsampled, 'front', FETCHER);
    const answer = await unsampled.request(there, '/');
    assert.match(answer.json().traceparent, /-00$/);
  });
});

it('a collector that is away harms no request, and the log says so', async () => {
  const lonely = await startEdge({ config: { traces: { endpoint: 'http://127.0.0.1:9/v1/traces' } } });
  try {
    const there = await deploy(lonely, 'front', FETCHER);
    assert.equal((await lonely.request(there, '/')).status, 200);
    await eventually(() => /traces do not reach their collector/.test(lonely.output()));
  } finally {
    await lonely.close();
  }
});
