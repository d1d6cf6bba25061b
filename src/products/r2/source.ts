/** The S3 bucket that objects are taken from when an account moves in: signed reads, over connections to checked addresses only. */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { AwsV4Signer } from 'aws4fetch';
import { z } from 'zod';
import type { Source } from './documents.ts';
import { many, parseXml } from './s3/xml.ts';

const ANSWER_TIMEOUT_MS = 60_000;
const MAX_LIST_BYTES = 8 * 1024 * 1024;

/** Opens a connection to a checked address; throws or emits an error if it may not be. */
export type Connect = (accountId: string, to: { secure: boolean; host: string; port: number }) => Socket;

export interface SourceOptions {
  connect: Connect;
  unseal(sealed: string): string;
}

/** The source did not answer as it should; `message` is for the account. */
export class SourceError extends Error {
  override name = 'SourceError';
}

const Listing = z.object({
  ListBucketResult: z.object({
    Contents: many(z.object({ Key: z.string(), Size: z.coerce.number() })),
    NextContinuationToken: z.string().optional(),
  }),
});

/** Null if the source does not have the object. The caller reads or destroys the answer. Throws SourceError. */
export async function getObject(
  accountId: string,
  source: Source,
  key: string,
  options: SourceOptions,
): Promise<IncomingMessage | null> {
  const answer = await ask(accountId, source, `/${source.bucket}/${encodeKey(key)}`, options);
  if (answer.statusCode === 200) return answer;
  const reason = await text(answer);
  if (answer.statusCode === 404 && !/NoSuchBucket/.test(reason)) return null;
  throw refused(source, answer, reason);
}

/** A page of the source's keys. Throws SourceError. */
export async function listKeys(
  accountId: string,
  source: Source,
  { prefix, token }: { prefix: string; token?: string },
  options: SourceOptions,
): Promise<{ keys: { key: string; size: number }[]; next: string | null }> {
  const query = new URLSearchParams({ 'list-type': '2', 'max-keys': '1000', prefix });
  if (token !== undefined) query.set('continuation-token', token);
  const answer = await ask(accountId, source, `/${source.bucket}?${query}`, options);
  let bytes = 0;
  answer.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > MAX_LIST_BYTES) answer.destroy(new SourceError('the list of the source is too long'));
  });
  const body = await text(answer);
  if (answer.statusCode !== 200) throw refused(source, answer, body);
  const { Contents, NextContinuationToken } = Listing.parse(parseXml(body)).ListBucketResult;
  return { keys: Contents.map(({ Key, Size }) => ({ key: Key, size: Size })), next: NextContinuationToken ?? null };
}

async function ask(
  accountId: string,
  source: Source,
  path: string,
  { connect, unseal }: SourceOptions,
): Promise<IncomingMessage> {
  const signed = await new AwsV4Signer({
    url: source.endpoint + path,
    accessKeyId: source.accessKeyId,
    secretAccessKey: unseal(source.secretAccessKey),
    service: 's3',
    region: source.region,
    headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' },
  }).sign();
  const { url } = signed;
  const secure = url.protocol === 'https:';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = Number(url.port || (secure ? 443 : 80));
  return new Promise((resolve, reject) => {
    let socket: Socket;
    try {
      socket = connect(accountId, { secure, host, port });
    } catch (error) {
      return reject(failed(source, error));
    }
    const request = (secure ? httpsRequest : httpRequest)({
      createConnection: () => socket,
      path: url.pathname + url.search,
      headers: { ...Object.fromEntries(signed.headers as Headers), host: url.host },
      ...(secure && !isIP(host) && { servername: host }),
      timeout: ANSWER_TIMEOUT_MS,
    });
    request.once('response', resolve);
    request.once('timeout', () => request.destroy(new SourceError('the source does not answer')));
    request.once('error', (error) => reject(failed(source, error)));
    request.end();
  });
}

/** A key in a path: each byte but the unreserved ones and "/" is escaped, as S3 signs it. */
export function encodeKey(key: string): string {
  return encodeURIComponent(key)
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%2F', '/');
}

function refused({ endpoint, bucket }: Source, answer: IncomingMessage, body: string): SourceError {
  const [, code = ''] = /<Code>([^<]{1,64})<\/Code>/.exec(body) ?? [];
  return new SourceError(`the source ${endpoint}/${bucket} answered ${answer.statusCode} ${code}`.trim());
}

function failed({ endpoint }: Source, error: unknown): SourceError {
  if (error instanceof SourceError) return error;
  return new SourceError(`the source ${endpoint} cannot be reached: ${error instanceof Error ? error.message : error}`);
}
