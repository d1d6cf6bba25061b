/**
 * Loaded into the Node processes of a Selvedge under test (`--import`, with `--expose-gc`): on SIGUSR2 it collects all garbage and writes
 * down what is still alive. From outside only the heap's size can be seen, which breathes by tens of megabytes.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const directory = process.env.SOAK_PROBE_DIR!;
let number = 0;

process.on('SIGUSR2', () => {
  globalThis.gc!();
  const { heapUsed, external } = process.memoryUsage();
  const path = join(directory, String(process.pid));
  writeFileSync(`${path}.new`, JSON.stringify({ number: ++number, liveBytes: heapUsed + external }));
  renameSync(`${path}.new`, path);
});
