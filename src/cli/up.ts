/** `selvedge up`: core and PoP on this machine. Sets everything up at the first start, prints where it is, and runs until SIGTERM. */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, totalmem, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { layout } from '../model/layout.ts';
import { DEFAULT_PLAN } from '../model/limits.ts';
import type { Settings } from '../model/settings.ts';
import { startPop } from '../pop/supervisor.ts';
import { lockDataDir } from '../state/lock.ts';
import { dataOption, type Running } from './data-dir.ts';
import { type Installation, install } from './install.ts';
import { reservePort } from './ports.ts';
import { print } from './table.ts';

/** Whatever takes longer is announced. */
const SLOW_MS = 2_000;

interface Options {
  data: string;
  listen: string;
  http: number;
  https: number;
  api: number;
  workersDomain: string;
  colo: string;
  edges: number;
  allowEgress: string[];
  isolateMemory: number;
  maxInstances: number;
  zygotes: number;
  sandbox: Settings['sandbox'];
}

export function upCommand(): Command {
  return new Command('up')
    .description('run the edge on this machine: control API, edge and Workers, data in one directory')
    .addOption(dataOption())
    .option('--listen <addr>', 'address to bind', '127.0.0.1')
    .option('--http <port>', 'port for HTTP; 0 chooses one', port, 8080)
    .option('--https <port>', 'port for HTTPS', port, 8443)
    .option('--api <port>', 'port for the control API', port, 4400)
    .option('--workers-domain <name>', 'Workers are at <worker>.<subdomain>.<name>', 'workers.localhost')
    .option('--colo <code>', 'code of this point of presence', 'dev')
    .option('--edges <n>', 'edge processes', positive, availableParallelism())
    .option('--allow-egress <cidr...>', 'private networks that Workers may fetch', [])
    .option('--isolate-memory <mb>', 'memory for all Workers together', positive, Math.floor(totalmem() / 2 / 1024 ** 2))
    .option('--max-instances <n>', 'processes of one Worker version under load', positive, availableParallelism())
    .addOption(new Option('--zygotes <n>', 'runtimes kept started').argParser(whole).default(2))
    .addOption(
      new Option('--sandbox <level>', 'sandbox of Workers; refuses to start with less')
        .choices(['auto', 'bubblewrap', 'namespaces', 'plain'])
        .default('auto'),
    )
    .addHelpText(
      'after',
      `
Examples:
  selvedge up
  selvedge up --data /var/lib/selvedge --listen 0.0.0.0 --workers-domain workers.example.com
  selvedge up --http 0 --https 0 --api 0        any free ports`,
    )
    .action((options: Options) => up(options));
}

async function up(options: Options): Promise<void> {
  const dataDir = resolve(options.data);
  const paths = layout(dataDir);
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const lock = lockDataDir(paths.lock);
  clearPredecessor(paths.running);
  const httpPort = await reservePort(options.listen, options.http, '--http');
  const httpsPort = await reservePort(options.listen, options.https, '--https');
  const apiPort = await reservePort(options.listen, options.api, '--api');
  const runDir = mkdtempSync(join(tmpdir(), 'selvedge-'));
  chmodSync(runDir, 0o711);
  const settings: Settings = {
    dataDir,
    runDir,
    listen: options.listen,
    httpPort,
    httpsPort,
    apiPort,
    workersDomain: options.workersDomain.toLowerCase(),
    colo: options.colo,
    edges: options.edges,
    plan: DEFAULT_PLAN,
    egressAllow: options.allowEgress,
    isolateMemoryMb: options.isolateMemory,
    maxInstances: options.maxInstances,
    zygotes: options.zygotes,
    sandbox: options.sandbox,
  };
  const cleanUp = () => {
    rmSync(runDir, { recursive: true, force: true });
    rmSync(paths.running, { force: true });
    lock.release();
  };
  const slow = setTimeout(() => print('Starting ...'), SLOW_MS);
  try {
    const installation = await install(settings);
    // Ctrl-C while it starts.
    process.once('SIGINT', () => process.exit(130));
    const pop = await startPop(settings);
    clearTimeout(slow);
    process.removeAllListeners('SIGINT');
    const running: Running = {
      pid: process.pid,
      runDir,
      listen: settings.listen,
      http: httpPort,
      https: httpsPort,
      api: apiPort,
      workersDomain: settings.workersDomain,
      accountId: installation.account.id,
      subdomain: installation.account.subdomain,
      startedAt: new Date().toISOString(),
    };
    writeFileSync(paths.running, JSON.stringify(running, null, 2));
    print(greeting(settings, installation, pop.sandbox));
    await stopSignal();
    print('\nStopping: open requests finish first (once more to stop at once) ...');
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
    await pop.close();
    cleanUp();
    process.exit(0);
  } catch (error) {
    clearTimeout(slow);
    cleanUp();
    throw error;
  }
}

function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
  });
}

/** What a killed predecessor left: its sockets. The lock says that it does not run any more. */
function clearPredecessor(runningPath: string): void {
  if (!existsSync(runningPath)) return;
  try {
    const { runDir } = JSON.parse(readFileSync(runningPath, 'utf8')) as Running;
    if (runDir.startsWith(join(tmpdir(), 'selvedge-'))) rmSync(runDir, { recursive: true, force: true });
  } finally {
    rmSync(runningPath, { force: true });
  }
}

function greeting(settings: Settings, { account, token, wranglerEnv }: Installation, sandbox: string): string {
  const host = `${account.subdomain}.${settings.workersDomain}`;
  const hint = sandbox === 'bubblewrap' ? '' : '  (selvedge doctor says how to get the strongest)';
  return `
Selvedge is running.

  Edge         http://${settings.listen}:${settings.httpPort}   https://${settings.listen}:${settings.httpsPort}
  Control API  http://${settings.listen}:${settings.apiPort}/client/v4   (OpenAPI: /openapi.json)
  Account      ${account.id}
${token ? `  API token    ${token}   (shown only now; kept in wrangler.env)\n` : ''}  Sandbox      ${sandbox}${hint}
  Data         ${settings.dataDir}

Try it:
  curl http://welcome.${host}:${settings.httpPort}

To make wrangler talk to this edge, paste this (or: source ${layout(settings.dataDir).wranglerEnv}):
${wranglerEnv.trim().replace(/^/gm, '  ')}
`;
}

function port(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value > 65_535) throw new InvalidArgumentError('A port is a number from 0 to 65535.');
  return value;
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('A whole number from 1 on is needed.');
  return value;
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('A whole number from 0 on is needed.');
  return value;
}
