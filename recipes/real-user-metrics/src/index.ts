/** Collects web vitals of real visitors: batched in memory, sharded over Durable Objects, sent on after the answer. */
import { DurableObject } from 'cloudflare:workers';
import { bucketOf, type Histogram, quantile } from './histogram.ts';
import { PAGE } from './page.ts';

const METRICS = ['TTFB', 'FCP', 'LCP', 'CLS', 'INP'];
const SHARDS = 8;
const SEND_MS = 1_000;
const MAX_VALUE = 600_000;
const MAX_BEACON_BYTES = 2_000;
const MAX_PAGE_LENGTH = 200;
/** Of one batch and of one shard; further pages are counted together. */
const MAX_PAGES = 1_000;

/** "page metric bucket" -> how many. */
type Batch = Map<string, number>;
type Row = [page: string, metric: string, bucket: number, count: number];

/** An eighth of all that was seen. */
export class Shard extends DurableObject {
  constructor(ctx: any, env: unknown) {
    super(ctx, env);
    ctx.storage.sql.exec(`CREATE TABLE IF NOT EXISTS counts (page TEXT, metric TEXT, bucket INTEGER, n INTEGER, PRIMARY KEY (page, metric, bucket));
      CREATE TABLE IF NOT EXISTS batches (n INTEGER)`);
  }

  /** All of a batch or nothing: there is no await in between. */
  add(rows: Row[]): void {
    const { sql } = this.ctx.storage;
    sql.exec('INSERT INTO batches VALUES (1)');
    const known = new Set(
      sql
        .exec('SELECT DISTINCT page FROM counts')
        .toArray()
        .map(({ page }: { page: string }) => page),
    );
    for (const [page, metric, bucket, count] of rows) {
      const name = known.has(page) || known.size < MAX_PAGES ? page : 'others';
      known.add(name);
      sql.exec(
        'INSERT INTO counts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n',
        name,
        metric,
        bucket,
        count,
      );
    }
  }

  read(): { rows: Row[]; batches: number } {
    const { sql } = this.ctx.storage;
    return {
      rows: [...sql.exec('SELECT page, metric, bucket, n FROM counts').raw()],
      batches: sql.exec('SELECT count(*) AS n FROM batches').one().n,
    };
  }
}

/** What waits to be sent; plain numbers, so every request may add to it. */
let batch: Batch = new Map();
let sending = false;
let turn = Math.floor(Math.random() * SHARDS);

function count(page: string, metric: string, bucket: number, by = 1): void {
  const key = JSON.stringify([page, metric, bucket]);
  batch.set(key, (batch.get(key) ?? 0) + by);
}

/** Sends the batch a moment later. */
async function sendLater(shards: any): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, SEND_MS));
  const sent = batch;
  batch = new Map();
  sending = false;
  turn = (turn + 1) % SHARDS;
  const rows = [...sent].map(([key, n]) => [...JSON.parse(key), n] as Row);
  try {
    await shards.getByName(`shard ${turn}`).add(rows);
  } catch (error) {
    console.error('a batch goes to the next shard:', error);
    for (const [page, metric, bucket, n] of rows) count(page, metric, bucket, n);
  }
}

/** A beacon's values; null if it is none. */
function readBeacon(text: string): { page: string; values: [metric: string, value: number][] } | null {
  if (text.length > MAX_BEACON_BYTES) return null;
  let beacon: Record<string, unknown>;
  try {
    beacon = JSON.parse(text);
  } catch {
    return null;
  }
  const page = beacon?.page;
  if (typeof page !== 'string' || !page.startsWith('/') || page.length > MAX_PAGE_LENGTH) return null;
  const values: [string, number][] = [];
  for (const metric of METRICS) {
    const value = beacon[metric];
    if (value === undefined || value === null) continue;
    if (typeof value !== 'number' || !(value >= 0 && value <= MAX_VALUE)) return null;
    values.push([metric, value]);
  }
  return values.length > 0 ? { page, values } : null;
}

async function collect(request: Request, shards: any, ctx: any): Promise<Response> {
  const beacon = readBeacon(await request.text());
  if (!beacon) return new Response('This is no beacon.', { status: 400 });
  const page = batch.size < MAX_PAGES * METRICS.length ? beacon.page : 'others';
  for (const [metric, value] of beacon.values) count(page, metric, bucketOf(value));
  if (!sending) {
    sending = true;
    ctx.waitUntil(sendLater(shards));
  }
  return new Response(null, { status: 204 });
}

async function report(shards: any): Promise<Response> {
  const parts: { rows: Row[]; batches: number }[] = await Promise.all(
    Array.from({ length: SHARDS }, (_, i) => shards.getByName(`shard ${i}`).read()),
  );
  const pages: Record<string, Record<string, Histogram>> = Object.create(null);
  for (const [page, metric, bucket, n] of parts.flatMap(({ rows }) => rows)) {
    pages[page] ??= {};
    pages[page][metric] ??= new Map();
    const histogram = pages[page][metric];
    histogram.set(bucket, (histogram.get(bucket) ?? 0) + n);
  }
  const shown = Object.entries(pages).map(([page, metrics]) => {
    const summaries = Object.entries(metrics).map(([metric, histogram]) => {
      const n = [...histogram.values()].reduce((sum, each) => sum + each, 0);
      return [metric, { count: n, p50: quantile(histogram, 0.5), p95: quantile(histogram, 0.95) }];
    });
    return [page, Object.fromEntries(summaries)];
  });
  return Response.json({ pages: Object.fromEntries(shown), batches: parts.map(({ batches }) => batches) });
}

export default {
  async fetch(request: Request, { SHARDS: shards }: { SHARDS: any }, ctx: any): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname === '/beacon' && request.method === 'POST') return collect(request, shards, ctx);
    if (pathname === '/report') return report(shards);
    if (pathname === '/') return new Response(PAGE, { headers: { 'content-type': 'text/html; charset=utf-8' } });
    return new Response('There is nothing here.', { status: 404 });
  },
};
