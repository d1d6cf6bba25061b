/** For tests of the command: runs the real `bin/selvedge.js` as a child process, as a person would. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const BIN = fileURLToPath(new URL('../../bin/selvedge.js', import.meta.url));

export interface Ended {
  code: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

function start(args: string[], cwd: string | undefined, env: NodeJS.ProcessEnv) {
  const child = spawn(process.execPath, [BIN, ...args], {
    cwd,
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended: Ended = { code: null, signal: null, stdout: '', stderr: '' };
  child.stdout.on('data', (text) => {
    ended.stdout += text;
  });
  child.stderr.on('data', (text) => {
    ended.stderr += text;
  });
  const end = new Promise<Ended>((resolve) => {
    child.on('close', (code, signal) => resolve(Object.assign(ended, { code, signal })));
  });
  return { child, ended, end };
}

/** Runs a command to its end. */
export function selvedge(args: string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}): Promise<Ended> {
  return start(args, options.cwd, options.env ?? {}).end;
}

/** Starts `selvedge up` on free ports and resolves when it says that it is running; throws what it said if it ends first. */
export async function up(
  dataDir: string,
  args: string[] = [],
): Promise<{ child: ChildProcess; ended: Ended; end: Promise<Ended> }> {
  const ports = ['--http', '0', '--https', '0', '--api', '0', '--s3', '0'].filter(
    (_, i, all) => !args.includes(all[i - (i % 2)]!),
  );
  const running = start(['up', '--data', dataDir, '--edges', '1', '--zygotes', '0', ...ports, ...args], undefined, {});
  const ready = new Promise<void>((resolve) => {
    running.child.stdout.on('data', () => {
      if (running.ended.stdout.includes('wrangler.env):')) resolve();
    });
  });
  const first = await Promise.race([ready, running.end]);
  if (first) throw new Error(`selvedge up ended: ${first.stderr || first.stdout}`);
  return running;
}
