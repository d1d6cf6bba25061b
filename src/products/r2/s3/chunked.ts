/**
 * Bodies in the content coding aws-chunked: chunks with their size, and a signature each if the body is signed so, and trailers behind them
 * (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html).
 */
import { createHash, type Hash } from 'node:crypto';
import { R2Error } from '../limits.ts';
import { chunkSignature, isSame, type Verified } from './signature.ts';

/** Of a chunk's first line, and of a trailer. */
const MAX_LINE_BYTES = 4096;
const MAX_TRAILERS = 20;
const MAX_CHUNK_BYTES = 5 * 1024 ** 3;
const LF = 10;

/** What it decodes to. Trailers are put into `trailers`, by name in lower case, before it ends. Throws R2Error. */
export async function* decodeChunks(
  body: AsyncIterable<Buffer>,
  verified: Verified,
  trailers: Map<string, string>,
): AsyncGenerator<Buffer> {
  const reader = new LineReader(body[Symbol.asyncIterator]());
  const signed = verified.payload.startsWith('STREAMING-AWS4-HMAC-SHA256-PAYLOAD');
  let before = verified.signature;
  for (;;) {
    const line = await reader.line();
    const match = /^([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?$/.exec(line);
    if (!match) throw broken('a chunk does not begin with its size');
    const size = Number.parseInt(match[1]!, 16);
    if (size > MAX_CHUNK_BYTES) throw broken('a chunk is too large');
    const hash = signed ? createHash('sha256') : null;
    if (size > 0) yield* reader.bytes(size, hash);
    if (hash) {
      const expected = chunkSignature(verified, 'PAYLOAD', before, hash.digest('hex'));
      if (!isSame(expected, match[2] ?? '')) throw doesNotMatch();
      before = expected;
    }
    if (size === 0) break;
    if ((await reader.line()) !== '') throw broken('a chunk is longer than its size');
  }
  await readTrailers(reader, verified, before, trailers);
}

async function readTrailers(
  reader: LineReader,
  verified: Verified,
  before: string,
  trailers: Map<string, string>,
): Promise<void> {
  const signed: string[] = [];
  let signature: string | undefined;
  for (let line = await reader.lineOrEnd(); line; line = await reader.lineOrEnd()) {
    const at = line.indexOf(':');
    if (at < 1 || trailers.size >= MAX_TRAILERS) throw broken('a trailer is not "name:value"');
    const [name, value] = [line.slice(0, at).trim().toLowerCase(), line.slice(at + 1).trim()];
    if (name === 'x-amz-trailer-signature') signature = value;
    else {
      trailers.set(name, value);
      signed.push(`${name}:${value}\n`);
    }
  }
  if (verified.payload !== 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER') return;
  const hash = createHash('sha256').update(signed.join('')).digest('hex');
  if (!isSame(chunkSignature(verified, 'TRAILER', before, hash), signature ?? '')) throw doesNotMatch();
}

class LineReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterator<Buffer>) {
    this.#chunks = chunks;
  }

  /** Without its end (CR LF). */
  async line(): Promise<string> {
    const line = await this.lineOrEnd();
    if (line === null) throw incomplete();
    return line;
  }

  /** Null where the body ends. */
  async lineOrEnd(): Promise<string | null> {
    for (;;) {
      const end = this.#rest.indexOf(LF);
      if (end >= 0) {
        const line = this.#rest.toString('latin1', 0, end).replace(/\r$/, '');
        this.#rest = this.#rest.subarray(end + 1);
        return line;
      }
      if (this.#rest.length > MAX_LINE_BYTES) throw broken('a line is too long');
      const { done, value } = await this.#chunks.next();
      if (done) {
        if (this.#rest.length > 0) throw incomplete();
        return null;
      }
      this.#rest = this.#rest.length === 0 ? value : Buffer.concat([this.#rest, value]);
    }
  }

  async *bytes(size: number, hash: Hash | null): AsyncGenerator<Buffer> {
    for (let left = size; left > 0; ) {
      if (this.#rest.length === 0) {
        const { done, value } = await this.#chunks.next();
        if (done) throw incomplete();
        this.#rest = value;
      }
      const part = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(part.length);
      left -= part.length;
      hash?.update(part);
      if (part.length > 0) yield part;
    }
  }
}

function broken(why: string): R2Error {
  return new R2Error('InvalidRequest', `The body is not in the coding aws-chunked: ${why}.`);
}

function incomplete(): R2Error {
  return new R2Error('IncompleteBody', 'The request body terminated unexpectedly.');
}

function doesNotMatch(): R2Error {
  return new R2Error('SignatureDoesNotMatch', 'The signature of a part of the body does not match what we calculated.');
}
