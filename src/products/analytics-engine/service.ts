/**
 * What Analytics Engine bindings of one isolate process talk to: one POST with the points of a turn, as `[dataset, index, blobs, doubles]`
 * each. Checked again here: the module that sends them runs beside a stranger's code. Points are answered for when they are handed over, not
 * when they are on disk.
 */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { json } from 'node:stream/consumers';
import { z } from 'zod';
import { log, reason } from '../../model/log.ts';
import type { DataPoint } from '../../state/points.ts';
import { ANALYTICS } from './limits.ts';

const isWithin = (bytes: number) => (text: string) => Buffer.byteLength(text) <= bytes;
const Points = z
  .array(
    z.tuple([
      z.string(),
      z.string().refine(isWithin(ANALYTICS.indexBytes)),
      z
        .array(z.string())
        .max(ANALYTICS.blobs)
        .refine((blobs) => isWithin(ANALYTICS.blobBytes)(blobs.join(''))),
      z.array(z.number().nullable()).max(ANALYTICS.doubles),
    ]),
  )
  .max(ANALYTICS.pointsPerTurn);

export interface AnalyticsServiceOptions {
  /** Names of the datasets that the process may write to. */
  allowed: string[];
  /** False: too many wait. */
  add(points: DataPoint[]): boolean;
}

class Refused extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** The server of `ae.sock` of one isolate process; the caller lets it listen. */
export function createAnalyticsService({ allowed, add }: AnalyticsServiceOptions): Server {
  const datasets = new Set(allowed);
  let reading = 0;

  async function take(request: IncomingMessage): Promise<void> {
    const size = Number(request.headers['content-length'] ?? Number.NaN);
    if (!(size <= ANALYTICS.postBytes)) throw new Refused(413, 'the data points are too large');
    if (reading + size > ANALYTICS.readingBytes) throw new Refused(503, 'too many data points at once');
    reading += size;
    try {
      const parsed = Points.safeParse(await json(request).catch(() => null));
      if (!parsed.success) throw new Refused(400, 'these are no data points');
      const timestamp = Math.floor(Date.now() / 1000);
      const points = parsed.data.map(([dataset, index, blobs, doubles]): DataPoint => {
        if (!datasets.has(dataset)) throw new Refused(400, 'this Worker does not bind the dataset');
        return { dataset, timestamp, index, blobs, doubles: doubles.map((double) => double ?? 0) };
      });
      if (!add(points)) throw new Refused(503, 'too many data points wait for the disk');
    } finally {
      reading -= size;
    }
  }

  // The runtime decides how long connections are kept: closing idle ones would race with its next request.
  return createServer({ keepAliveTimeout: 0, requestTimeout: 0 }, (request, response) => {
    take(request).then(
      () => response.writeHead(204).end(),
      (error: unknown) => {
        if (!(error instanceof Refused)) log('error', 'data points were not taken', { error: reason(error) });
        // What is left of the body is not read: the connection ends with the answer.
        response.shouldKeepAlive = request.complete;
        if (error instanceof Refused) response.writeHead(error.status, error.message).end();
        else response.writeHead(500).end();
      },
    );
  });
}
