/** A request of the S3 API after its signature was checked: what it names, who asks, and its body. */

import { createHash, type Hash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Token } from '../../../model/documents.ts';
import type { Bucket } from '../documents.ts';
import { noSuchBucket, R2, R2Error } from '../limits.ts';
import { decodeChunks } from './chunked.ts';
import type { Action } from './credentials.ts';
import { authorize } from './credentials.ts';
import type { S3Parts } from './server.ts';
import { UNSIGNED, type Verified } from './signature.ts';
import { buildXml } from './xml.ts';

/** Of a body that is a document. */
const MAX_XML_BYTES = 2 * 1024 * 1024;

/** A connection on which nothing moves, although it should, is closed. */
export const STALL_MS = 60_000;

export interface Target {
  bucket: string | null;
  key: string | null;
}

export class Call {
  readonly parts: S3Parts;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly target: Target;
  readonly query: ReadonlyMap<string, string>;
  readonly token: Token;
  /** Put there when the body has ended. */
  readonly trailers = new Map<string, string>();
  readonly #verified: Verified;
  #bodyBegun = false;

  constructor(
    parts: S3Parts,
    request: IncomingMessage,
    response: ServerResponse,
    target: Target,
    query: ReadonlyMap<string, string>,
    token: Token,
    verified: Verified,
  ) {
    this.parts = parts;
    this.request = request;
    this.response = response;
    this.target = target;
    this.query = query;
    this.token = token;
    this.#verified = verified;
  }

  get bodyBegun(): boolean {
    return this.#bodyBegun;
  }

  /** A field's text; Node reads bytes as latin1. */
  header(name: string): string | undefined {
    const value = this.request.headers[name];
    return typeof value === 'string' ? Buffer.from(value, 'latin1').toString() : undefined;
  }

  get headers(): IncomingMessage['headers'] {
    return this.request.headers;
  }

  /** Throws R2Error AccessDenied. */
  authorize(action: Action, bucket: string | null = this.target.bucket): void {
    authorize(this.token, action, bucket);
  }

  /** The bucket that is named, if the token may do this to it. Throws R2Error NoSuchBucket, AccessDenied. */
  async bucket(action: Action): Promise<Bucket> {
    const { bucket } = this.target;
    if (bucket === null) throw noSuchBucket();
    this.authorize(action);
    return this.parts.r2.buckets.get(this.token.accountId, bucket);
  }

  /** Throws R2Error MissingContentLength, EntityTooLarge before anything is read. */
  uploadLength(): number {
    const chunked = this.#verified.payload.startsWith('STREAMING-');
    const text = chunked ? this.header('x-amz-decoded-content-length') : this.header('content-length');
    const length = Number(text);
    if (text === undefined || !/^\d{1,15}$/.test(text)) {
      throw new R2Error('MissingContentLength', 'You must provide the Content-Length HTTP header.');
    }
    if (length > R2.uploadBytes) {
      throw new R2Error('EntityTooLarge', 'Your proposed upload exceeds the maximum allowed object size.');
    }
    return length;
  }

  /** The body as it was meant; its end is reached only if it has the length and the hash that were signed. */
  async *body(): AsyncGenerator<Buffer> {
    this.#bodyBegun = true;
    if (/100-continue/i.test(this.header('expect') ?? '')) this.response.writeContinue();
    // Its connection still has to take the answer.
    const raw = this.request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
    const { payload } = this.#verified;
    const chunked = payload.startsWith('STREAMING-');
    const content = chunked ? decodeChunks(raw, this.#verified, this.trailers) : raw;
    const hash: Hash | null = !chunked && payload !== UNSIGNED ? createHash('sha256') : null;
    const announced = this.header(chunked ? 'x-amz-decoded-content-length' : 'content-length');
    let length = 0;
    for await (const chunk of content) {
      length += chunk.length;
      hash?.update(chunk);
      yield chunk;
    }
    this.takesLong();
    if (announced !== undefined && length !== Number(announced)) {
      throw new R2Error('IncompleteBody', 'The request body terminated unexpectedly.');
    }
    if (hash && hash.digest('hex') !== payload) {
      throw new R2Error('BadDigest', 'The provided x-amz-content-sha256 header does not match what was computed.');
    }
  }

  /** Nothing moves on the connection while the disk works: that is no client that stalls. The next request has its time again. */
  takesLong(): void {
    this.request.setTimeout(0);
  }

  /** From here on it moves again, or the client stalls. */
  moves(): void {
    this.request.setTimeout(STALL_MS);
  }

  /** A small body as text. Throws R2Error EntityTooLarge, BadDigest. */
  async text(): Promise<string> {
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of this.body()) {
      length += chunk.length;
      if (length > MAX_XML_BYTES) throw new R2Error('EntityTooLarge', 'The document in the body is too large.');
      chunks.push(chunk);
    }
    const bytes = Buffer.concat(chunks);
    const md5 = this.expectedMd5();
    if (md5 !== undefined && createHash('md5').update(bytes).digest('hex') !== md5) {
      throw new R2Error('BadDigest', 'The Content-MD5 you specified did not match what we received.');
    }
    return bytes.toString();
  }

  /** Of Content-MD5, in hex. Throws R2Error InvalidDigest. */
  expectedMd5(): string | undefined {
    const given = this.header('content-md5');
    if (given === undefined) return undefined;
    const bytes = Buffer.from(given, 'base64');
    if (bytes.length !== 16) throw new R2Error('InvalidDigest', 'The Content-MD5 you specified is not valid.');
    return bytes.toString('hex');
  }

  sendXml(root: string, content: Record<string, unknown>, headers: Record<string, string> = {}): void {
    const body = buildXml(root, content);
    this.response
      .writeHead(200, { 'content-type': 'application/xml', 'content-length': body.length, ...headers })
      .end(body);
  }

  send(status: number, headers: Record<string, string | number> = {}): void {
    this.response.writeHead(status, headers).end();
  }
}
