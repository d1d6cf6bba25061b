/** The thread of `hash-thread.ts`. */
import { createHash, type Hash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import type { HashAnswer, HashRequest } from './hash-thread.ts';

const port = parentPort!;
const hashes = new Map<number, Hash>();

port.on('message', ({ id, bytes, end }: HashRequest) => {
  const hash = hashes.get(id) ?? createHash('md5');
  hashes.set(id, hash);
  if (bytes) hash.update(bytes);
  if (end) hashes.delete(id);
  const answer: HashAnswer = {
    id,
    taken: bytes?.byteLength ?? 0,
    ...(end === 'digest' && { digest: hash.digest('hex') }),
  };
  port.postMessage(answer);
});
