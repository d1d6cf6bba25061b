#!/usr/bin/env node
// Runs on any Node: starts the command on Node 24, which npm has put beside it on Linux, or says in one line what is missing.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NEEDED = 24;
const root = fileURLToPath(new URL('..', import.meta.url));
const pinned = join(root, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node');
const flag = '--disable-warning=ExperimentalWarning';

// Sockets that systemd opened are for the process that it started: LISTEN_PID (sd_listen_fds(3)).
if (Number(process.env.LISTEN_PID) === process.pid) delete process.env.LISTEN_PID;
else if (process.env.LISTEN_PID) delete process.env.LISTEN_FDS;
const activated = Array.from({ length: Number(process.env.LISTEN_FDS ?? 0) }, (_, index) => 3 + index);

if (Number(process.versions.node.split('.')[0]) >= NEEDED && process.execArgv.includes(flag)) {
  await import(join(root, 'src/cli/main.ts'));
} else {
  const node = Number(process.versions.node.split('.')[0]) >= NEEDED ? process.execPath : pinned;
  if (!existsSync(node)) {
    process.stderr.write(
      `selvedge: Node ${NEEDED} is needed, this is ${process.version}; run \`npm ci\` (Linux) or install it\n`,
    );
    process.exit(1);
  }
  const child = spawn(node, [flag, fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: ['inherit', 'inherit', 'inherit', ...activated],
  });
  // A terminal's Ctrl-C reaches the child by itself too: it takes two signals within a moment for one.
  const passedOn = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of passedOn) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => {
    // The same end as the child's: by the signal, or with the status.
    for (const name of passedOn) process.removeAllListeners(name);
    if (signal) process.kill(process.pid, signal);
    else process.exit(code ?? 1);
  });
}
