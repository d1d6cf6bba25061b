import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { it } from 'node:test';
import { lastOutput } from './output.ts';

it('keeps the last of what a process wrote', async () => {
  const child = spawn('sh', ['-c', 'head -c 3000000 /dev/zero >&2; echo the reason >&2'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const output = lastOutput(child.stderr);
  await once(child, 'close');
  assert.equal(output().length, 64 * 1024);
  assert.match(output(), /the reason\n$/);
});

it('a process that writes without end waits, instead of taking the time of its reader', async () => {
  const child = spawn('sh', ['-c', 'exec cat /dev/zero >&2'], { stdio: ['ignore', 'ignore', 'pipe'] });
  const output = lastOutput(child.stderr);
  let bytes = 0;
  child.stderr.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  const began = performance.now();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const windows = Math.ceil((performance.now() - began) / 100) + 1;
  assert.ok(bytes <= windows * 1.3 * 1024 * 1024, `${bytes} bytes in ${windows} windows`);
  child.kill('SIGKILL');
  await once(child, 'close');
  assert.equal(output().length, 64 * 1024);
});
