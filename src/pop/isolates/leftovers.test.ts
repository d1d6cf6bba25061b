/** What a killed supervisor may leave is gone after the next start, and nothing else is. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { it } from 'node:test';
import { killLeftovers } from './leftovers.ts';

it('processes of a run directory are killed, those of another are not', async () => {
  const waiting = ['/tmp/selvedge-left/i/i3', '/tmp/selvedge-left2/i/i3'].map((directory) =>
    spawn(process.execPath, ['-e', 'setInterval(() => undefined, 1000)', '--', directory], { stdio: 'ignore' }),
  );
  const [ours, other] = waiting as [(typeof waiting)[number], (typeof waiting)[number]];
  await Promise.all(waiting.map((child) => once(child, 'spawn')));
  const exit = once(ours, 'exit');
  assert.equal(killLeftovers('/tmp/selvedge-left'), 1);
  assert.deepEqual(await exit, [null, 'SIGKILL']);
  assert.equal(other.exitCode ?? other.signalCode, null);
  other.kill();
});
