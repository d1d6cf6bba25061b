/** Static assets of a version: they answer before the Worker, unless its configuration lets the Worker go first. */
import { Readable } from 'node:stream';
import { log, reason } from '../model/log.ts';
import { createAssetServer } from '../products/assets/serve.ts';
import { workerFirst } from '../products/assets/worker-first.ts';
import type { Blobs } from '../state/blobs.ts';
import { sendError } from './error-pages.ts';
import type { Edge } from './handle.ts';
import { askWorker, type Passage } from './worker.ts';

/** Bytes of small files that one edge process keeps in memory. */
const CACHE_BYTES = 64 * 1024 * 1024;

export class AssetStage {
  readonly #server: ReturnType<typeof createAssetServer>;

  constructor(blobs: Blobs) {
    this.#server = createAssetServer({ blobs, cacheBytes: CACHE_BYTES });
  }

  /** Answers from the version's assets, or goes on to its Worker. */
  answer(edge: Edge, passage: Passage): void {
    const { head, version, reply, ray } = passage;
    if (version.hasCode && workerFirst(version.assets!.config, head.path)) {
      askWorker(edge.snapshot, edge.bus, passage);
      return;
    }
    this.#serve(edge, passage).catch((error: unknown) => {
      log('error', 'an asset could not be served', { version: version.id, path: head.path, error: reason(error) });
      sendError(reply, head, ray, 'edge');
    });
  }

  async #serve(edge: Edge, passage: Passage): Promise<void> {
    const { head, version, reply, ray } = passage;
    const query = head.target.slice(head.path.length);
    const headers = Object.fromEntries(head.pairs().map(([name, value]) => [name.toLowerCase(), value]));
    const answer = await this.#server.serve(version.assets!, {
      method: head.method,
      pathname: head.path,
      search: query,
      headers,
      hasCode: version.hasCode,
    });
    if (!answer) {
      if (version.hasCode) return askWorker(edge.snapshot, edge.bus, passage);
      return sendError(reply, head, ray, 'notFound');
    }
    passage.body.resume();
    reply.record.fromAssets = true;
    reply.head(answer.status, [...answer.headers.flat(), 'CF-Ray', ray, 'Server', 'selvedge']);
    const { body } = answer;
    if (reply.gone) {
      reply.record.end('canceled');
      if (body instanceof Readable) body.destroy();
      return;
    }
    if (!(body instanceof Readable)) return reply.end(body ?? undefined);
    body.on('data', (chunk: Buffer) => {
      if (!reply.write(chunk)) body.pause();
    });
    body.on('end', () => reply.end());
    body.on('error', () => reply.cut());
    reply.onDrain(() => body.resume());
    reply.onGone(() => body.destroy());
  }
}
