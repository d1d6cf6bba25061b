/** The S3 bucket that objects are taken from when an account moves in: signed reads, over connections to checked addresses only. */
import { Agent, type ClientRequestArgs, request as httpRequest, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { AwsV4Signer } from 'aws4fetch';
import { z } from 'zod';
import { reason } from '../../model/log.ts';
import type { Source } from './documents.ts';
import { many, parseXml } from './s3/xml.ts';

const ANSWER_TIMEOUT_MS = 60_000;
/** A connection that nobody used for this long is closed; most servers do it later. */
const IDLE_MS = 4_000;
const MAX_IDLE_CONNECTIONS = 16;
const MAX_LIST_BYTES = 8 * 1024 * 1024;
const MAX_ERROR_BYTES = 64 * 1024;

/** Opens a connection to a checked address; throws or emits an error if it may not be. */
export type Connect = (accountId: string, to: { secure: boolean; host: string; port: number }) => Socket;

export interface SourceOptions {
  connect: Connect;
  unseal(sealed: string): string;
}

/** The source did not answer as it should; `message` is for the account. */
export class SourceError extends Error {
  override name = 'SourceError';
  /** Nothing came from the source: the next object will not do better. */
  readonly unreachable: boolean;
  /** Trying again may help. */
  readonly transient: boolean;
  /** S3's name of the error, if the source gave one. */
  readonly code: string;
  constructor(message: string, is: { unreachable?: boolean; transient?: boolean; code?: string } = {}) {
    super(message);
    this.unreachable = is.unreachable ?? false;
    this.transient = is.transient ?? this.unreachable;
    this.code = is.code ?? '';
  }
}

export interface SourceKey {
  key: string;
  size: number;
  /** Without quotes. */
  etag: string;
}

const Listing = z.object({
  ListBucketResult: z.object({
    Contents: many(
      z.object({
        Key: z.string(),
        Size: z.coerce.number(),
        ETag: z.string().default(''),
      }),
    ),
    EncodingType: z.string().optional(),
    IsTruncated: z.enum(['true', 'false']),
    NextContinuationToken: z.string().optional(),
  }),
});

export class SourceReader {
  readonly #unseal: SourceOptions['unseal'];
  readonly #agent: SourceAgent;
  #closed = false;

  constructor({ connect, unseal }: SourceOptions) {
    this.#unseal = unseal;
    this.#agent = new SourceAgent(connect);
  }

  /** An object. Null if the source does not have it. The caller reads or destroys the answer. Throws SourceError. */
  async get(accountId: string, source: Source, key: string): Promise<IncomingMessage | null> {
    const answer = await this.#ask(accountId, source, `/${source.bucket}/${encodeKey(key)}`);
    if (answer.statusCode === 200) return answer;
    const body = await bodyOf(source, answer, MAX_ERROR_BYTES);
    if (answer.statusCode === 404 && !body.includes('NoSuchBucket')) return null;
    throw refused(source, answer, body);
  }

  /** A page of the source's keys, in the order of the source. Throws SourceError. */
  async list(
    accountId: string,
    source: Source,
    { prefix, token, limit = 1000 }: { prefix: string; token?: string | undefined; limit?: number },
  ): Promise<{ keys: SourceKey[]; next: string | null }> {
    const query = new URLSearchParams({ 'list-type': '2', 'max-keys': String(limit), 'encoding-type': 'url', prefix });
    if (token !== undefined) query.set('continuation-token', token);
    const answer = await this.#ask(accountId, source, `/${source.bucket}?${query}`);
    const body = await bodyOf(source, answer, MAX_LIST_BYTES);
    if (answer.statusCode !== 200) throw refused(source, answer, body);
    try {
      const parsed = Listing.parse(parseXml(body)).ListBucketResult;
      // Who does not know the parameter does not say that it followed it. Amazon writes a space as "+".
      const decode = (text: string) =>
        parsed.EncodingType === 'url' ? decodeURIComponent(text.replaceAll('+', '%20')) : text;
      const keys = parsed.Contents.map(({ Key, Size, ETag }) => ({
        key: decode(Key),
        size: Size,
        etag: withoutQuotes(ETag),
      }));
      const next = parsed.IsTruncated === 'true' ? parsed.NextContinuationToken : null;
      // A list without an end, or one whose rest would be missed.
      if (next === undefined || next === token) throw new Error('it does not say how it goes on');
      return { keys, next };
    } catch (error) {
      const why = error instanceof z.ZodError ? 'it is no list of S3' : reason(error);
      throw new SourceError(`the list of the source ${source.endpoint}/${source.bucket} cannot be read: ${why}`);
    }
  }

  /** Closes all connections: what is under way fails. */
  close(): void {
    this.#closed = true;
    this.#agent.destroy();
  }

  async #ask(accountId: string, source: Source, path: string): Promise<IncomingMessage> {
    const { url, headers } = await new AwsV4Signer({
      url: source.endpoint + path,
      accessKeyId: source.accessKeyId,
      secretAccessKey: this.#unseal(source.secretAccessKey),
      service: 's3',
      region: source.region,
      headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' },
    }).sign();
    if (this.#closed) throw new SourceError('this process stops', { unreachable: true });
    // A URL has no "." and ".." in its path: such a key would name something else, even in another bucket.
    if (url.pathname !== path.split('?', 1)[0]) {
      throw new SourceError('a key with "." or ".." between slashes cannot be asked for');
    }
    const secure = url.protocol === 'https:';
    const asked: ClientRequestArgs & SourceTarget = {
      agent: this.#agent,
      accountId,
      secure,
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(url.port || (secure ? 443 : 80)),
      path: url.pathname + url.search,
      headers: { ...Object.fromEntries(headers as Headers), host: url.host },
      timeout: ANSWER_TIMEOUT_MS,
    };
    return this.#send(source, asked);
  }

  /** A request whose connection the source had just closed is sent again: it only reads. */
  #send(source: Source, asked: ClientRequestArgs): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const request = httpRequest(asked);
      let isAnswered = false;
      request.once('response', (answer) => {
        isAnswered = true;
        resolve(answer);
      });
      request.once('timeout', () =>
        request.destroy(new SourceError(`the source ${source.endpoint} does not answer`, { unreachable: true })),
      );
      request.on('error', (error: NodeJS.ErrnoException) => {
        if (isAnswered) return;
        const wasClosed = request.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
        if (wasClosed && !this.#closed) this.#send(source, asked).then(resolve, reject);
        else reject(unreachable(source, error));
      });
      request.end();
    });
  }
}

interface SourceTarget {
  accountId: string;
  secure: boolean;
}

/** Keeps connections for the next request of the same account: what it may reach is its own affair. */
class SourceAgent extends Agent {
  readonly #connect: Connect;

  constructor(connect: Connect) {
    super({ keepAlive: true, timeout: IDLE_MS, maxFreeSockets: MAX_IDLE_CONNECTIONS });
    this.#connect = connect;
  }

  override getName(options: ClientRequestArgs & Partial<SourceTarget> = {}): string {
    return `${options.accountId} ${options.secure} ${super.getName(options)}`;
  }

  override createConnection(
    options: ClientRequestArgs & Partial<SourceTarget>,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): Duplex | null {
    const { accountId = '', secure = true, host, port } = options;
    try {
      return this.#connect(accountId, { secure, host: host!, port: Number(port) });
    } catch (error) {
      callback?.(error as Error, undefined as never);
      return null;
    }
  }
}

/** A key in a path: each byte but the unreserved ones and "/" is escaped, as S3 signs it. */
export function encodeKey(key: string): string {
  return encodeURIComponent(key)
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%2F', '/');
}

/** An ETag as lists and headers have it. */
export function withoutQuotes(etag: string): string {
  return etag.replace(/^"|"$/g, '');
}

async function bodyOf(source: Source, answer: IncomingMessage, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > maxBytes) throw new SourceError(`the source ${source.endpoint} answers with too many bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw unreachable(source, error);
  }
  return Buffer.concat(chunks).toString();
}

function refused({ endpoint, bucket }: Source, answer: IncomingMessage, body: string): SourceError {
  const [, code = ''] = /<Code>(\w{1,64})<\/Code>/.exec(body) ?? [];
  const status = answer.statusCode ?? 0;
  const transient = status >= 500 || status === 429;
  return new SourceError(`the source ${endpoint}/${bucket} answered ${status} ${code}`.trim(), { transient, code });
}

function unreachable({ endpoint }: Source, error: unknown): SourceError {
  if (error instanceof SourceError) return error;
  const why = error instanceof Error ? error.message : String(error);
  return new SourceError(`the source ${endpoint} cannot be reached: ${why}`, { unreachable: true });
}
