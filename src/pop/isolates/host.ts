/**
 * Isolate processes for the fleet: starts versions in sandboxed workerd processes and inspects scripts at upload. In here nobody knows of
 * deployments or requests.
 * The layout of a process's directory is in `directory.ts`.
 */
import { spawn } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import type { EntrypointInfo, Version } from '../../model/documents.ts';
import { LIMITS } from '../../model/limits.ts';
import { log, reason } from '../../model/log.ts';
import type { Attach, InspectResult } from '../../model/messages.ts';
import { isProductBinding } from '../../model/product-bindings.ts';
import type { Settings } from '../../model/settings.ts';
import { doorSockets, objectLinks } from '../../products/durable-objects/other-worker.ts';
import type { Blobs } from '../../state/blobs.ts';
import type { Vault } from '../../state/vault.ts';
import { compileConfig, hasSystemWorker, rpcSockets, StartError, serviceLinks, type Variant } from './config.ts';
import { ConfigCache } from './config-cache.ts';
import { OWN, sealDirectory } from './directory.ts';
import { Isolate } from './isolate.ts';
import { dataBytes, RUNTIME_BYTES } from './process-stats.ts';
import { productSockets } from './products.ts';
import { detectSandbox, type SandboxLevel } from './sandbox.ts';
import { type StartLimits, start } from './start.ts';
import { Turns } from './turns.ts';
import { Watchdog } from './watchdog.ts';
import { type Zygote, Zygotes } from './zygotes.ts';

export { StartError } from './config.ts';
export { Isolate } from './isolate.ts';

const INSPECT_MS = 5_000;
/** Scripts of one account that are inspected at a time: each may take a second of a core. */
const INSPECTIONS_PER_ACCOUNT = 2;
const STOP_MS = 2_000;
/** A process is bounded by the kernel this long after its start; the watchdog looks from the beginning. */
const BOUND_AFTER_MS = 100;
const MiB = 1024 * 1024;

export interface HostOptions {
  runDir: string;
  /** For compiled configurations, sealed; a cache. */
  cacheDir: string;
  /** Files of Durable Objects, a directory for each Worker that has them. */
  objectsDir: string;
  blobs: Blobs;
  vault: Vault;
  zygotes: number;
  sandbox: Settings['sandbox'];
  /** Workers carry the traces of their requests on. */
  traced: boolean;
  /** Opens and closes the data process's sockets in the isolate's directory. */
  attach(attach: Attach): Promise<void>;
  detach(isolate: string): Promise<void>;
  onUsage(version: Version, cpuMs: number): void;
}

export interface IsolateSpec {
  version: Version;
  tailed: boolean;
  /** Named entrypoints that other Workers may call; 'default' always is. */
  entrypoints: string[];
}

/** Makes a host. Throws if no sandbox of the wanted level works. */
export async function createIsolateHost(options: HostOptions): Promise<IsolateHost> {
  const sandbox = await detectSandbox(options.sandbox);
  await mkdir(join(options.runDir, 'i'), { recursive: true, mode: 0o711 });
  await mkdir(compileDir(options), { recursive: true, mode: 0o700 });
  return new IsolateHost(options, sandbox.level, new Zygotes(sandbox, options.runDir, options.zygotes));
}

export class IsolateHost {
  readonly sandbox: SandboxLevel;
  readonly #options: HostOptions;
  readonly #zygotes: Zygotes;
  readonly #isolates = new Set<Isolate>();
  readonly #watchdog: Watchdog;
  readonly #configs: ConfigCache;
  readonly #inspections = new Turns(INSPECTIONS_PER_ACCOUNT);
  #closed = false;

  constructor(options: HostOptions, sandbox: SandboxLevel, zygotes: Zygotes) {
    this.sandbox = sandbox;
    this.#options = options;
    this.#zygotes = zygotes;
    this.#configs = new ConfigCache(options.cacheDir, options.vault, (version, variant) =>
      this.#compile(version, variant),
    );
    this.#watchdog = new Watchdog((isolate, cpuMs) => options.onUsage(isolate.version, cpuMs));
  }

  zygoteCount(): number {
    return this.#zygotes.count;
  }

  isolates(): Iterable<Isolate> {
    return this.#isolates;
  }

  /** Starts a process for a version; resolves when it takes requests. Throws StartError. */
  async start(spec: IsolateSpec): Promise<Isolate> {
    const { version, tailed } = spec;
    const { traced } = this.#options;
    const variant: Variant = { tailed, traced, entrypoints: spec.entrypoints, inspect: false, strict: false };
    const config = await this.#configs.get(version, variant);
    const zygote = version.objects
      ? await this.#zygotes.withObjects(this.#options.objectsDir, version.objects.storage)
      : await this.#zygotes.take();
    try {
      const attach: Attach = {
        isolate: zygote.id,
        dir: zygote.directory,
        accountId: version.accountId,
        script: version.script,
        versionId: version.id,
        services: [...serviceLinks(version), ...objectLinks(version)],
        assets: version.assets,
        own: join(zygote.directory, OWN),
        bindings: version.bindings.filter(isProductBinding),
        subrequests: version.limits.subrequests,
      };
      // Side by side: the script cannot use the sockets before its first request.
      const [{ output }] = await Promise.all([
        start(zygote, config, startLimits(version)),
        this.#options.attach(attach),
      ]);
      const { exitCode, signalCode } = zygote.process;
      if (exitCode !== null || signalCode !== null) throw new StartError('The process ended right after its start.');
      if (this.#closed) throw new Error('this machine is shutting down');
      const system = hasSystemWorker(version) ? ['p.sock'] : [];
      const products = productSockets(version.bindings);
      const rpc = [rpcSockets(spec.entrypoints), doorSockets(version)].flatMap((files) => Object.values(files));
      const sockets = ['m.sock', ...system, ...products, ...rpc];
      sealDirectory(zygote.directory, zygote.uid, sockets);
      const isolate = new Isolate(zygote, version, variant, output);
      this.#isolates.add(isolate);
      this.#watchdog.watch(isolate);
      // Starting a program takes some of the supervisor's time: the request that waits for this process goes first.
      setTimeout(() => boundData(isolate), BOUND_AFTER_MS).unref();
      isolate.once('exit', () => {
        this.#isolates.delete(isolate);
        void this.#clear(zygote, true);
      });
      return isolate;
    } catch (error) {
      zygote.process.kill('SIGKILL');
      await this.#clear(zygote, true);
      throw error;
    }
  }

  /** Starts the script once, beside a Worker that tells what its modules export. An account's uploads wait for each other. */
  inspect(version: Version): Promise<InspectResult> {
    return this.#inspections.take(version.accountId, () => this.#inspect(version));
  }

  async #inspect(version: Version): Promise<InspectResult> {
    const variant: Variant = { tailed: false, entrypoints: [], inspect: version.format === 'modules', strict: true };
    let zygote: Zygote | null = null;
    try {
      const config = await this.#compile(version, variant);
      zygote = await this.#zygotes.strict();
      const { startupTimeMs } = await start(zygote, config, startLimits(version));
      const found = variant.inspect
        ? await askInspector(join(zygote.directory, OWN, 'i.sock'))
        : { handlers: await this.#serviceWorkerHandlers(version), entrypoints: [] };
      return { ok: true, startupTimeMs, ...found };
    } catch (error) {
      if (error instanceof StartError) return { ok: false, message: error.message };
      throw error;
    } finally {
      zygote?.process.kill('SIGKILL');
      if (zygote) await this.#clear(zygote, false);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#zygotes.close();
    await Promise.all([...this.#isolates].map((isolate) => isolate.stop(STOP_MS)));
    this.#watchdog.close();
  }

  #compile(version: Version, variant: Variant): Promise<Buffer> {
    const { blobs, vault } = this.#options;
    return compileConfig(version, variant, blobs, vault, compileDir(this.#options));
  }

  /** Their names are only known to the script; these are the calls that its source shows. */
  async #serviceWorkerHandlers(version: Version): Promise<string[]> {
    const main = version.modules.find((module) => module.name === version.mainModule);
    const source = (main && (await this.#options.blobs.get(main.hash))?.toString()) ?? '';
    const found = [...source.matchAll(/addEventListener\(\s*["'`](\w+)["'`]/g)].map((match) => match[1]!);
    return [...new Set(found)];
  }

  async #clear(zygote: Zygote, attached: boolean): Promise<void> {
    const left = (error: unknown) =>
      log('warn', 'an isolate process left things behind', { isolate: zygote.id, error: reason(error) });
    if (attached) await this.#options.detach(zygote.id).catch(left);
    await rm(zygote.directory, { recursive: true, force: true }).catch(left);
  }
}

/** In the run directory, which is emptied after a crash: configurations hold secrets while they are compiled. */
function compileDir({ runDir }: HostOptions): string {
  return join(runDir, 'c');
}

function startLimits({ limits }: Version): StartLimits {
  const bytes = limits.memoryMb * MiB + RUNTIME_BYTES;
  return { wallMs: LIMITS.startupWallMs, cpuMs: LIMITS.startupCpuMs, bytes };
}

async function askInspector(socketPath: string): Promise<{ handlers: string[]; entrypoints: EntrypointInfo[] }> {
  const response = await new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
    const asked = request(
      { socketPath, path: '/', headers: { host: 'inspect' }, agent: false, timeout: INSPECT_MS },
      resolve,
    );
    asked
      .on('error', reject)
      .on('timeout', () => asked.destroy(new StartError('The script did not answer after its start.')));
    asked.end();
  });
  if (response.statusCode !== 200) throw new StartError('The script does not load a second time.');
  return (await json(response)) as { handlers: string[]; entrypoints: EntrypointInfo[] };
}

/**
 * Bounds what V8's heap limit does not: array buffers and WebAssembly memory. Set after the start, because V8 reserves much of what
 * it never uses. The Worker then sees a RangeError instead of its end. Best effort: the watchdog holds the limit in any case.
 */
function boundData(isolate: Isolate): void {
  if (isolate.ended) return;
  const data = dataBytes(isolate.pid);
  if (data === null) return;
  const bytes = data + 2 * isolate.version.limits.memoryMb * MiB;
  const failed = (error: unknown) =>
    log('warn', 'memory of a process is not bounded by the kernel', { error: reason(error) });
  try {
    const child = spawn('prlimit', [`--pid=${isolate.pid}`, `--data=${bytes}:${bytes}`], { stdio: 'ignore' });
    child.on('error', failed);
  } catch (error) {
    failed(error);
  }
}
