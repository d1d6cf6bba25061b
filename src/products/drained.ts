/** For servers that the runtime's bindings talk to. */
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';

/** The same for a body that is read by an iterator, which keeps the request from flowing by itself. */
export async function drainedBy(
  body: AsyncIterator<Uint8Array>,
  request: IncomingMessage,
  maxBytes: number,
): Promise<void> {
  let left = maxBytes;
  for (let next = await body.next(); !next.done; next = await body.next()) {
    left -= next.value.byteLength;
    if (left < 0) return void request.destroy();
  }
}

/**
 * Reads what is left of a request's body: the runtime takes an answer before it has sent all as a lost connection. What is longer than
 * `maxBytes` loses its connection. Never rejects.
 */
export async function drained(request: IncomingMessage, maxBytes: number): Promise<void> {
  let left = maxBytes;
  request.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) request.destroy();
  });
  if (request.readableEnded || request.destroyed) return;
  // Its sender may go meanwhile, which is an error of the request.
  await once(request.resume(), 'close').catch(() => undefined);
}
