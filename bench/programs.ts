/** The other programs that rows measure with: are they here, what they say, and Node programs of `clients/` in processes of their own. */
import { type ChildProcess, execFile, execFileSync, fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Program -> Debian package that has it. */
const PACKAGES: Record<string, string> = { wrk: 'wrk', h2load: 'nghttp2-client', nginx: 'nginx-light' };
/** Linux counts processor time in these (USER_HZ, the same on all its architectures). */
const TICKS_PER_SECOND = 100;

/** Throws one sentence that says which packages to install if one of the programs is missing. */
export function need(programs: string[]): void {
  const missing = [...new Set(programs)].filter((program) => {
    try {
      execFileSync('sh', ['-c', 'command -v "$0"', program], { stdio: 'ignore', env: withSbin() });
      return false;
    } catch {
      return true;
    }
  });
  if (missing.length === 0) return;
  const packages = missing.map((program) => PACKAGES[program] ?? program);
  throw new Error(`${missing.join(', ')} needed: apt-get install ${packages.join(' ')}`);
}

/** nginx is where the path of plain users does not lead. */
export function withSbin(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };
}

/** Runs a program to its end beside this process. Returns its standard output; throws if it fails. */
export function output(program: string, args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { encoding: 'utf8', maxBuffer: 16 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error) reject(new Error(`${program} failed: ${stderr || error.message}`));
      else resolve(stdout);
    });
  });
}

/** Requests a second by wrk with one thread. Throws if answers other than 2xx come. */
export async function wrk(port: number, host: string, connections: number, seconds: number) {
  const text = await output('wrk', [
    ...['-t1', `-c${connections}`, `-d${seconds}s`, '--latency'],
    ...['-H', `Host: ${host}`, `http://127.0.0.1:${port}/`],
  ]);
  if (/Non-2xx|Socket errors/.test(text)) throw new Error(`errors under load: ${text}`);
  const latency = (share: string) => milliseconds(new RegExp(`^\\s+${share}%\\s+(\\S+)$`, 'm').exec(text)![1]!);
  return {
    requests: Number(/(\d+) requests in/.exec(text)![1]),
    perSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(text)![1]),
    p50: latency('50'),
    p99: latency('99'),
  };
}

/** "1.25ms", "310.00us", "1.01s" */
function milliseconds(text: string): number {
  const value = Number.parseFloat(text);
  return text.endsWith('us') ? value / 1000 : text.endsWith('ms') ? value : value * 1000;
}

/** Requests a second by h2load with one thread over TLS and HTTP/2. Throws if a request fails. */
export async function h2load(port: number, host: string, clients: number, streams: number, seconds: number) {
  const text = await output('h2load', [
    ...['-t1', `-c${clients}`, `-m${streams}`, '-D', String(seconds)],
    ...[`--connect-to=127.0.0.1:${port}`, `https://${host}:${port}/`],
  ]);
  const counts = /(\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored/.exec(text)!;
  const [, , succeeded, failed, errored] = counts.map(Number);
  if (failed! + errored! > 0 || !/status codes: \d+ 2xx, 0 3xx, 0 4xx, 0 5xx/.test(text) || !/protocol: h2/.test(text))
    throw new Error(`errors under load: ${text}`);
  return { requests: succeeded!, perSecond: Number(/finished in [^,]+, ([\d.]+) req\/s/.exec(text)![1]) };
}

/** Processor time that the processes have used so far, seconds. */
export function cpuSeconds(pids: number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // proc(5): utime and stime are fields 14 and 15; the name in parentheses may hold spaces.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS_PER_SECOND;
}

/** Files that a process may open at most if it asks for all (the hard limit). Node raises its own limit to it by itself. */
export function openFilesLimit(): number {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))![1]!;
  return hard === 'unlimited' ? 1_000_000 : Number(hard);
}

/** Memory that the process shares with no other, bytes: what would be free without it. */
export function privateBytes(pid: number): number {
  let kilobytes = 0;
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  for (const match of text.matchAll(/^Private_(?:Clean|Dirty):\s+(\d+) kB$/gm)) kilobytes += Number(match[1]);
  return kilobytes * 1024;
}

/** A Node program of `clients/` in a process of its own. It gets `task` and answers with messages. */
export class Client {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;

  constructor(name: string, task: object, nice = 0) {
    this.#child = fork(join(import.meta.dirname, 'clients', `${name}.ts`), [JSON.stringify(task)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      execArgv: ['--disable-warning=ExperimentalWarning'],
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    if (nice > 0) execFileSync('renice', ['-n', String(nice), '-p', String(this.#child.pid)], { stdio: 'ignore' });
    this.#ended = new Promise((resolve) => this.#child.once('exit', () => resolve()));
  }

  /** The next message. Throws if the program ends before. */
  message<T>(): Promise<T> {
    return new Promise((resolve, reject) => {
      const onExit = (code: number | null) => reject(new Error(`a client ended with ${code} before its answer`));
      this.#child.once('exit', onExit);
      this.#child.once('message', (message) => {
        this.#child.off('exit', onExit);
        resolve(message as T);
      });
    });
  }

  /** Asks the program for another message. */
  ask<T>(): Promise<T> {
    const answer = this.message<T>();
    this.#child.send({});
    return answer;
  }

  stop(): Promise<void> {
    this.#child.kill('SIGKILL');
    return this.#ended;
  }
}

/** Runs a program of `clients/` to its only answer. */
export async function client<T>(name: string, task: object): Promise<T> {
  const running = new Client(name, task);
  try {
    return await running.message<T>();
  } finally {
    await running.stop();
  }
}
