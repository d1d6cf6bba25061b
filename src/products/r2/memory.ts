/**
 * Bodies pass through memory outside of V8's heap, which V8 cleans up when 64 MiB of it have gathered: a process that does nothing else would be
 * that much larger. Most buffers are as young as they can be, so the quick collection finds them; the others need a whole one.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const EVERY_BYTES = 8 * 1024 * 1024;
/** What may gather beyond what was in use at the last whole collection. */
const MAX_GATHERED_BYTES = 16 * 1024 * 1024;

// Node has no other way to it (https://nodejs.org/api/v8.html#v8setflagsfromstringflags).
setFlagsFromString('--expose-gc');
// What is young here is mostly buffers, which are elsewhere: room for it need not grow.
setFlagsFromString('--semi-space-growth-factor=1');
const collect = runInNewContext('gc') as (options: { type: 'minor' | 'major' }) => void;
let since = 0;
let inUse = 0;

/** Bytes of a body went through buffers that nobody needs any more. */
export function passed(bytes: number): void {
  since += bytes;
  if (since < EVERY_BYTES) return;
  since = 0;
  collect({ type: 'minor' });
  const { arrayBuffers } = process.memoryUsage();
  if (arrayBuffers > inUse + MAX_GATHERED_BYTES) {
    collect({ type: 'major' });
    inUse = process.memoryUsage().arrayBuffers;
  } else inUse = Math.min(inUse, arrayBuffers);
}
