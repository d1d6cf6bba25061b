/** `selvedge up`: core and PoP on this machine. Sets everything up at the first start, prints where it is, and runs until SIGTERM. */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir, totalmem } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { layout } from '../model/layout.ts';
import { DEFAULT_PLAN } from '../model/limits.ts';
import { log, reason } from '../model/log.ts';
import type { Settings } from '../model/settings.ts';
import { startPop } from '../pop/supervisor.ts';
import { lockDataDir } from '../state/lock.ts';
import { writePrivate } from '../state/private-file.ts';
import { dataOption, type Running, urlHost } from './data-dir.ts';
import { type Installation, install } from './install.ts';
import { address, cidrs, coloCode, domain, megabytes, port, processes, spares } from './options.ts';
import { choosePorts } from './ports.ts';
import { stopSignal } from './stop-signal.ts';
import { print } from './table.ts';

/** What takes longer is announced, and again. */
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
    .option('--listen <addr>', 'address to bind', address, '127.0.0.1')
    .option('--http <port>', 'port for HTTP; 0 chooses one', port, 8080)
    .option('--https <port>', 'port for HTTPS', port, 8443)
    .option('--api <port>', 'port for the control API', port, 4400)
    .option('--workers-domain <name>', 'Workers are at <worker>.<subdomain>.<name>', domain, 'workers.localhost')
    .option('--colo <code>', 'code of this point of presence', coloCode, 'dev')
    .option('--edges <n>', 'edge processes', processes, availableParallelism())
    .option('--allow-egress <cidr...>', 'private networks that Workers may fetch', cidrs, [])
    .option(
      '--isolate-memory <mb>',
      'memory for all Workers together',
      megabytes,
      Math.floor(totalmem() / 2 / 1024 ** 2),
    )
    .option('--max-instances <n>', 'processes of one Worker version under load', processes, availableParallelism())
    .addOption(new Option('--zygotes <n>', 'runtimes kept started').argParser(spares).default(2))
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
  const ports = await choosePorts(options.listen, {
    '--http': options.http,
    '--https': options.https,
    '--api': options.api,
  });
  const runDir = mkdtempSync(join(tmpdir(), 'selvedge-'));
  chmodSync(runDir, 0o711);
  const settings: Settings = {
    dataDir,
    runDir,
    listen: options.listen,
    httpPort: ports['--http'],
    httpsPort: ports['--https'],
    apiPort: ports['--api'],
    workersDomain: options.workersDomain,
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
  // Without draining: the children see their channel close, and end.
  const stopAtOnce = () => {
    cleanUp();
    process.exit(130);
  };
  const stopped = stopSignal(stopAtOnce);
  let ready = false;
  void stopped.then(() => {
    if (!ready) stopAtOnce();
  });
  let doing = 'opening the data directory';
  const slow = setInterval(() => print(`Still ${doing} ...`), SLOW_MS);
  try {
    const installation = await install(settings);
    doing = 'starting the control API, the edge and the Workers';
    const pop = await startPop(settings);
    ready = true;
    clearInterval(slow);
    writePrivate(paths.running, JSON.stringify(toRunning(settings, installation), null, 2));
    print(greeting(settings, installation, pop.sandbox));
    await stopped;
    print('\nStopping: open requests finish first (once more to stop at once) ...');
    await pop.close();
    cleanUp();
    process.exit(0);
  } catch (error) {
    clearInterval(slow);
    cleanUp();
    throw error;
  }
}

function toRunning(settings: Settings, { account }: Installation): Running {
  return {
    pid: process.pid,
    runDir: settings.runDir,
    listen: settings.listen,
    http: settings.httpPort,
    https: settings.httpsPort,
    api: settings.apiPort,
    workersDomain: settings.workersDomain,
    accountId: account.id,
    subdomain: account.subdomain,
    startedAt: new Date().toISOString(),
  };
}

/** What a killed predecessor left: its sockets. The lock says that it does not run any more. */
function clearPredecessor(runningPath: string): void {
  if (!existsSync(runningPath)) return;
  try {
    const { runDir } = JSON.parse(readFileSync(runningPath, 'utf8')) as Running;
    const ours = dirname(runDir) === tmpdir() && basename(runDir).startsWith('selvedge-');
    if (ours) rmSync(runDir, { recursive: true, force: true });
  } catch (error) {
    log('warn', 'what the last run left could not be removed', { error: reason(error) });
  }
  rmSync(runningPath, { force: true });
}

function greeting(settings: Settings, { account, token, wranglerEnv }: Installation, sandbox: string): string {
  const host = `${account.subdomain}.${settings.workersDomain}`;
  const at = urlHost(settings.listen);
  const hint = sandbox === 'bubblewrap' ? '' : '  (selvedge doctor says how to get the strongest)';
  return `
Selvedge is running.

  Edge         http://${at}:${settings.httpPort}   https://${at}:${settings.httpsPort}
${settings.listen === at ? '' : `  Listening on ${settings.listen}, all addresses of this machine\n`}  Control API  http://${at}:${settings.apiPort}/client/v4   (OpenAPI: /openapi.json)
  Account      ${account.id}
${token ? `  API token    ${token}   (shown only now; kept in wrangler.env)\n` : ''}  Sandbox      ${sandbox}${hint}
  Data         ${settings.dataDir}

Try it:
  curl http://welcome.${host}:${settings.httpPort}

To make wrangler talk to this edge, paste this (or: source ${layout(settings.dataDir).wranglerEnv}):
${wranglerEnv.trim().replace(/^/gm, '  ')}
`;
}
