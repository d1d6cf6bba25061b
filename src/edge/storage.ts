/** Requests for the objects of R2 buckets: passed to the process that serves them, over its sockets, and streamed back. */
import type { Readable } from 'node:stream';
import { log } from '../model/log.ts';
import type { Target } from '../model/route.ts';
import { BUCKET_OF_HEADER, storageSockets } from '../model/storage-sockets.ts';
import { sendError } from './error-pages.ts';
import type { Head } from './headers.ts';
import type { Client } from './identify.ts';
import { IsolateClient } from './isolate-client.ts';
import type { Reply } from './reply.ts';
import { signed } from './worker.ts';

/** Of an upload in one request, with what its coding adds: the S3 API says itself what is too large. */
const MAX_BODY_BYTES = 6 * 1024 ** 3;

export interface StorageRequest {
  head: Head;
  body: Readable;
  client: Client;
  ray: string;
  reply: Reply;
}

export class StorageStage {
  readonly #s3: IsolateClient;
  readonly #public: IsolateClient;

  constructor(runDir: string) {
    const paths = storageSockets(runDir);
    this.#s3 = new IsolateClient(paths.s3);
    this.#public = new IsolateClient(paths.public);
  }

  answer({ accountId, bucket }: Target, { head, body, client, ray, reply }: StorageRequest): void {
    reply.record.routedAt = performance.now();
    reply.record.sentAt = reply.record.routedAt;
    const length = head.bodyLength;
    const framing =
      length === 0 ? '' : length === null ? 'Transfer-Encoding: chunked\r\n' : `Content-Length: ${length}\r\n`;
    const named = bucket === '' ? '' : `${BUCKET_OF_HEADER}: ${accountId}/${bucket}\r\n`;
    const lines = `${head.method} ${head.target} HTTP/1.1\r\n${head.lines}${client.lines}CF-Ray: ${ray}\r\n${named}${framing}\r\n`;
    const upstream = bucket === '' ? this.#s3 : this.#public;
    let over = false;
    let ended = false;
    const exchange = upstream.send(
      head.method,
      lines,
      length === 0 ? null : { stream: body, length, maxBytes: MAX_BODY_BYTES, counter: reply.record },
      {
        onHead: (status, _text, headers) => reply.head(status, signed(headers, ray)),
        onData(chunk, last) {
          if (!last) return reply.write(chunk);
          ended = true;
          reply.end(chunk);
          return true;
        },
        onEnd() {
          over = true;
          if (!ended) reply.end();
        },
        onError(error) {
          over = true;
          if (error.kind === 'eyeball' || reply.gone) return reply.record.end('canceled');
          log('warn', 'the process of R2 did not answer', { kind: error.kind, error: error.message });
          if (reply.started) reply.cut();
          else sendError(reply, head, ray, error.kind === 'tooLarge' ? 'tooLarge' : 'edge');
        },
      },
    );
    reply.onDrain(() => {
      if (!over) exchange.resume();
    });
    reply.onGone(() => {
      if (over) return;
      over = true;
      exchange.abort();
    });
  }
}
