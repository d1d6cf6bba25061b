/** `selvedge up`: core and PoP on this machine. Sets everything up at the first start, prints where it is, and runs until SIGTERM. */
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { Command, Option } from 'commander';
import { listenSpecs, toSettings } from '../config/settings.ts';
import { layout } from '../model/layout.ts';
import { log, reason } from '../model/log.ts';
import type { Settings } from '../model/settings.ts';
import { openSockets } from '../pop/sockets.ts';
import { type Pop, startPop } from '../pop/supervisor.ts';
import { lockDataDir } from '../state/lock.ts';
import { writePrivate } from '../state/private-file.ts';
import { type Running, urlHost } from './data-dir.ts';
import { type Installation, install } from './install.ts';
import { address, addresses, cidrs, coloCode, domain, megabytes, port, processes, spares } from './options.ts';
import { ownWay, withOwnWay } from './own-way.ts';
import { choosePorts } from './ports.ts';
import { stopSignal } from './stop-signal.ts';
import { print } from './table.ts';
import { configOf, type UpOptions } from './up-config.ts';

const ROOT_WARNING = `  Warning      this runs as root: make a user (useradd --system selvedge) and run it as that one; README.md, "On a public host", has the rest
`;
/** What takes longer is announced, and again. */
const SLOW_MS = 2_000;

export function upCommand(): Command {
  return new Command('up')
    .description('run the edge on this machine: control API, edge and Workers, data in one directory')
    .option('--config <file>', 'configuration (JSON with comments); options given here go before it')
    .option('--data <dir>', 'data directory (default: .selvedge; or SELVEDGE_DATA)')
    .option('--listen <addr...>', 'addresses of the edge (default: 127.0.0.1)', addresses)
    .option('--http <port>', 'port for HTTP; 0 chooses one (default: 8080)', port)
    .option('--https <port>', 'port for HTTPS (default: 8443)', port)
    .option('--api-listen <addr>', 'address of the control API (default: 127.0.0.1)', address)
    .option('--api <port>', 'port of the control API (default: 4400)', port)
    .option('--s3-listen <addr>', 'address of the S3 API (default: 127.0.0.1)', address)
    .option('--s3 <port>', 'port of the S3 API (default: 4401)', port)
    .option(
      '--workers-domain <name>',
      'Workers are at <worker>.<subdomain>.<name> (default: workers.localhost)',
      domain,
    )
    .option('--colo <code>', 'code of this point of presence (default: dev)', coloCode)
    .option('--edges <n>', 'edge processes (default: cores)', processes)
    .option('--allow-egress <cidr...>', 'private networks that Workers may fetch', cidrs)
    .option('--isolate-memory <mb>', 'memory for all Workers together (default: half of the machine)', megabytes)
    .option('--max-instances <n>', 'processes of one Worker version under load (default: cores)', processes)
    .option('--zygotes <n>', 'runtimes kept started (default: 2)', spares)
    .addOption(
      new Option('--sandbox <level>', 'sandbox of Workers; refuses to start with less (default: auto)').choices([
        'auto',
        'bubblewrap',
        'namespaces',
        'plain',
      ]),
    )
    .addHelpText(
      'after',
      `
Examples:
  selvedge up
  selvedge up --config /etc/selvedge/selvedge.jsonc
  selvedge up --data /var/lib/selvedge --listen 0.0.0.0 --workers-domain workers.example.com
  selvedge up --http 0 --https 0 --api 0 --s3 0   any free ports

SIGHUP reads the configuration anew: limits, tls, trusted_proxies and logs without dropping a request; the rest at the next start.`,
    )
    .action((options: UpOptions) => up(options));
}

async function up(options: UpOptions): Promise<void> {
  const config = configOf(options);
  const dataDir = config.data;
  const paths = layout(dataDir);
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const lock = lockDataDir(paths.lock);
  clearPredecessor(paths.running);
  const sockets = await openSockets(withOwnWay(listenSpecs(config)), config.workers.edges);
  const ports = await choosePorts(config);
  const runDir = mkdtempSync(join(tmpdir(), 'selvedge-'));
  chmodSync(runDir, 0o711);
  const opened = { runDir, secret: randomBytes(16).toString('hex'), ...ownWay(sockets), ...ports };
  const settings = toSettings(config, opened);
  const cleanUp = () => {
    sockets.close();
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
  // From the beginning: what nobody handles would end this process.
  const started = Promise.withResolvers<Pop>();
  reloadOnSignal(started.promise, () => toSettings(configOf(options), opened));
  let ready = false;
  void stopped.then(() => {
    if (!ready) stopAtOnce();
  });
  let doing = 'opening the data directory';
  const slow = setInterval(() => print(`Still ${doing} ...`), SLOW_MS);
  try {
    const installation = await install(settings);
    doing = 'starting the control API, the edge and the Workers';
    const pop = await startPop(settings, sockets.fdsOf);
    ready = true;
    clearInterval(slow);
    writePrivate(paths.running, JSON.stringify(toRunning(settings, installation), null, 2));
    print(greeting(settings, installation, pop.sandbox));
    started.resolve(pop);
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

/** SIGHUP reads the configuration anew, when the start is over. A wrong one is reported, and nothing changes. */
function reloadOnSignal(started: Promise<Pop>, read: () => Settings): void {
  let last: Promise<unknown> = started;
  process.on('SIGHUP', () => {
    last = last.then(async () => {
      try {
        const pop = await started;
        const settings = read();
        print('Reloading: new edge processes take over, open requests finish in the old ones ...');
        await pop.reload(settings);
        print('Reloaded.');
      } catch (error) {
        print(`Not reloaded: ${reason(error)}`);
      }
    });
  });
}

function toRunning(settings: Settings, { account }: Installation): Running {
  return {
    pid: process.pid,
    runDir: settings.runDir,
    listen: settings.listen,
    http: settings.httpPort,
    https: settings.httpsPort,
    listeners: settings.listeners.map(({ scheme, name }) => `${scheme} ${name}`),
    apiListen: settings.apiListen,
    api: settings.apiPort,
    s3: `${urlHost(settings.s3Listen)}:${settings.s3Port}`,
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
  const own = [`${at}:${settings.httpPort}`, `${at}:${settings.httpsPort}`];
  const others = settings.listeners.filter(({ name }) => !own.includes(name));
  const listening = others.map(
    ({ scheme, name, proxyProtocol }) => `${scheme} ${name}${proxyProtocol ? ' (PROXY)' : ''}`,
  );
  return `
Selvedge is running.

  Edge         http://${own[0]}   https://${own[1]}
${listening.length > 0 ? `  Listening    ${listening.join('   ')}\n` : ''}  Control API  http://${urlHost(settings.apiListen)}:${settings.apiPort}/client/v4   (OpenAPI: /openapi.json)
  S3 API       http://${urlHost(settings.s3Listen)}:${settings.s3Port}
  Account      ${account.id}
${token ? `  API token    ${token}   (shown only now; kept in wrangler.env)\n` : ''}  Sandbox      ${sandbox}${hint}
  Data         ${settings.dataDir}
${process.getuid?.() === 0 ? ROOT_WARNING : ''}
Try it:
  curl http://welcome.${host}:${settings.httpPort}

To make wrangler talk to this edge, paste this (or: source ${layout(settings.dataDir).wranglerEnv}):
${wranglerEnv.trim().replace(/^/gm, '  ')}
`;
}
