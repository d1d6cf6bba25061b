/** What commands need of a data directory: where it is, whether a machine runs on it, its ledger. */
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Option } from 'commander';
import { layout } from '../model/layout.ts';
import { openSqliteLedger, type SqliteLedger } from '../state/sqlite-ledger.ts';

/** What `up` writes when everything is ready, and removes when it stops. */
export interface Running {
  pid: number;
  runDir: string;
  /** Address and ports at which this machine reaches its own edge. */
  listen: string;
  http: number;
  https: number;
  /** Sockets of the edge, as configured. */
  listeners: string[];
  apiListen: string;
  /** Address and port of the S3 API. */
  s3: string;
  api: number;
  workersDomain: string;
  accountId: string;
  subdomain: string;
  startedAt: string;
}

export function dataOption(): Option {
  return new Option('--data <dir>', 'data directory').default('.selvedge').env('SELVEDGE_DATA');
}

/** Absolute path; throws if there is no installation. */
export function existingDataDir(path: string): string {
  const dataDir = resolve(path);
  if (!existsSync(layout(dataDir).ledger)) {
    throw new Error(
      `there is no Selvedge in ${dataDir}: start one with \`selvedge up --data ${path}\`, or name its directory by --data`,
    );
  }
  return dataDir;
}

/** Null if no machine runs on this directory. */
export function readRunning(dataDir: string): Running | null {
  let running: Running;
  try {
    running = JSON.parse(readFileSync(layout(dataDir).running, 'utf8')) as Running;
  } catch {
    return null;
  }
  return isSelvedge(running.pid) ? running : null;
}

/** Does this process run, and is it ours? After a crash its number may be another program's. */
function isSelvedge(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const commandLine = `/proc/${pid}/cmdline`;
  return !existsSync(commandLine) || readFileSync(commandLine, 'latin1').includes('selvedge');
}

/** The host part of a URL that reaches an address this machine listens on. */
export function urlHost(listen: string): string {
  if (listen === '0.0.0.0') return '127.0.0.1';
  if (listen === '::') return '[::1]';
  return listen.includes(':') ? `[${listen}]` : listen;
}

/** Like `readRunning`; throws one clear sentence if nothing runs. */
export function requireRunning(dataDir: string): Running {
  const running = readRunning(dataDir);
  if (!running) throw new Error(`Selvedge is not running on ${dataDir}: start it with \`selvedge up\``);
  return running;
}

/** The variables of `<data>/wrangler.env`. */
export function readWranglerEnv(dataDir: string): Record<string, string> {
  const variables: Record<string, string> = {};
  const path = layout(dataDir).wranglerEnv;
  if (!existsSync(path)) return variables;
  for (const match of readFileSync(path, 'utf8').matchAll(/^export (\w+)="([^"\n]*)"$/gm))
    variables[match[1]!] = match[2]!;
  return variables;
}

/** Opens the ledger for one command. */
export async function withLedger<T>(path: string, work: (ledger: SqliteLedger) => Promise<T>): Promise<T> {
  const ledger = openSqliteLedger(layout(existingDataDir(path)).ledger);
  try {
    return await work(ledger);
  } finally {
    await ledger.close();
  }
}
