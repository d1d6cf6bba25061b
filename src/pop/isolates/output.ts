/**
 * What a process writes: the reason of its end, and all that its Worker logs, as fast as it can. The supervisor reads for every process,
 * so each gets a bounded part of its time: a Worker that writes faster waits.
 */
import type { Readable } from 'node:stream';

const KEPT_BYTES = 64 * 1024;
const WINDOW_MS = 100;
const BYTES_PER_WINDOW = 1024 * 1024;

/** Reads the stream to its end (a full pipe would stall the Worker). Returns the last of it when asked. */
export function lastOutput(stream: Readable): () => string {
  const kept: Buffer[] = [];
  let bytes = 0;
  let inWindow = 0;
  let windowEnds = 0;
  stream.on('data', (chunk: Buffer) => {
    kept.push(chunk);
    bytes += chunk.length;
    while (bytes - kept[0]!.length >= KEPT_BYTES) bytes -= kept.shift()!.length;
    const now = performance.now();
    if (now >= windowEnds) {
      inWindow = 0;
      windowEnds = now + WINDOW_MS;
    }
    inWindow += chunk.length;
    if (inWindow < BYTES_PER_WINDOW) return;
    stream.pause();
    setTimeout(() => stream.resume(), windowEnds - now);
  });
  return () => Buffer.concat(kept).subarray(-KEPT_BYTES).toString();
}
