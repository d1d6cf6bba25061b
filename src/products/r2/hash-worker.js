/** The thread of `hash-thread.ts`. JavaScript: what reads TypeScript would cost the thread 40 MB. */
import { createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';

/** @type {import('node:worker_threads').MessagePort} */
const port = /** @type {any} */ (parentPort);
/** @type {Map<number, import('node:crypto').Hash>} */
const hashes = new Map();

port.on('message', (/** @type {import('./hash-thread.ts').HashRequest} */ { id, batch, length = 0, end }) => {
  const hash = hashes.get(id) ?? createHash('md5');
  hashes.set(id, hash);
  if (batch) hash.update(batch.subarray(0, length));
  if (end) hashes.delete(id);
  // The batch goes back: it is filled again.
  port.postMessage(
    { id, taken: length, ...(batch && { batch }), ...(end === 'digest' && { digest: hash.digest('hex') }) },
    batch ? [batch.buffer] : [],
  );
});
