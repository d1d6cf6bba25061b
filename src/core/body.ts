/** Reads request bodies with a limit: nothing a client sends is held in memory beyond it. */
import { ApiError } from './errors.ts';

/** The body's bytes. Throws ApiError 10003 as soon as more than `limitBytes` have come. */
export async function readBody(request: Request, limitBytes: number): Promise<Buffer> {
  const tooLarge = () => new ApiError(10003, `The request body is larger than ${limitBytes} bytes.`);
  if (Number(request.headers.get('content-length') ?? 0) > limitBytes) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let size = 0;
  if (request.body) {
    for await (const chunk of request.body as unknown as AsyncIterable<Uint8Array>) {
      size += chunk.byteLength;
      if (size > limitBytes) throw tooLarge();
      chunks.push(chunk);
    }
  }
  return Buffer.concat(chunks, size);
}

/** The body as JSON whatever its content type says (wrangler often says text/plain). Throws ApiError 10003, 10001. */
export async function readJson(request: Request, limitBytes: number): Promise<unknown> {
  const text = (await readBody(request, limitBytes)).toString('utf8');
  try {
    return JSON.parse(text);
  } catch {
    // The parser's message would quote the body, which may hold a secret.
    throw new ApiError(10001, text.trim() === '' ? 'body: JSON is expected, nothing came.' : 'body: not valid JSON.');
  }
}
