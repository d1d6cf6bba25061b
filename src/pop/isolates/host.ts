/**
 * Isolate processes for the fleet: starts versions in sandboxed workerd processes and inspects scripts at upload. In here nobody knows of
 * deployments or requests.
 *
 * A process's directory (its working directory): m.sock HTTP of the Worker, p.sock system Worker, r-<n>.sock entrypoints for other Workers;
 * made by the data process: egress.sock, cache.sock, tail.sock, assets.sock, svc-<n>.sock.
 */
import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import type { EntrypointInfo, Version } from '../../model/documents.ts';
import { LIMITS } from '../../model/limits.ts';
import { log, reason } from '../../model/log.ts';
import type { Attach, InspectResult } from '../../model/messages.ts';
import type { Settings } from '../../model/settings.ts';
import type { Blobs } from '../../state/blobs.ts';
import type { Vault } from '../../state/vault.ts';
import { compileConfig, configName, StartError, serviceLinks, type Variant } from './config.ts';
import { Isolate } from './isolate.ts';
import { dataBytes } from './process-stats.ts';
import { detectSandbox, type SandboxLevel } from './sandbox.ts';
import { start } from './start.ts';
import { Watchdog } from './watchdog.ts';
import { type Zygote, Zygotes } from './zygotes.ts';

export { StartError } from './config.ts';
export { Isolate } from './isolate.ts';

/** Compiled configurations kept on disk. */
const MAX_CACHED_CONFIGS = 1000;
const INSPECT_MS = 5_000;
const STOP_MS = 2_000;
/** A process is bounded by the kernel this long after its start; the watchdog looks from the beginning. */
const BOUND_AFTER_MS = 100;
const MiB = 1024 * 1024;

export interface HostOptions {
  runDir: string;
  /** For compiled configurations, sealed; a cache. */
  cacheDir: string;
  blobs: Blobs;
  vault: Vault;
  zygotes: number;
  sandbox: Settings['sandbox'];
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
  await mkdir(options.cacheDir, { recursive: true, mode: 0o700 });
  return new IsolateHost(options, sandbox.level, new Zygotes(sandbox, options.runDir, options.zygotes));
}

export class IsolateHost {
  readonly sandbox: SandboxLevel;
  readonly #options: HostOptions;
  readonly #zygotes: Zygotes;
  readonly #isolates = new Set<Isolate>();
  readonly #watchdog: Watchdog;
  /** Configurations being compiled, by name: two starts of one version compile once. */
  readonly #compiling = new Map<string, Promise<Buffer>>();

  constructor(options: HostOptions, sandbox: SandboxLevel, zygotes: Zygotes) {
    this.sandbox = sandbox;
    this.#options = options;
    this.#zygotes = zygotes;
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
    const variant: Variant = { tailed, entrypoints: spec.entrypoints, inspect: false, strict: false };
    const [zygote, config] = await this.#prepare(version, variant);
    try {
      const attach: Attach = {
        isolate: zygote.id,
        dir: zygote.directory,
        accountId: version.accountId,
        script: version.script,
        versionId: version.id,
        services: serviceLinks(version),
        assets: version.assets,
        subrequests: version.limits.subrequests,
      };
      // Side by side: the script cannot use the sockets before its first request.
      const [{ output }] = await Promise.all([start(zygote, config, startLimits()), this.#options.attach(attach)]);
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

  /** Starts the script once, beside a Worker that tells what its modules export. */
  async inspect(version: Version): Promise<InspectResult> {
    const variant: Variant = { tailed: false, entrypoints: [], inspect: version.format === 'modules', strict: true };
    let zygote: Zygote | null = null;
    try {
      const config = await compileConfig(version, variant, this.#options.blobs, this.#options.vault);
      zygote = await this.#zygotes.strict();
      const { startupTimeMs } = await start(zygote, config, startLimits());
      const found = variant.inspect
        ? await askInspector(join(zygote.directory, 'i.sock'))
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
    this.#zygotes.close();
    await Promise.all([...this.#isolates].map((isolate) => isolate.stop(STOP_MS)));
    this.#watchdog.close();
  }

  /** A zygote and the configuration, prepared side by side. */
  async #prepare(version: Version, variant: Variant): Promise<[Zygote, Buffer]> {
    const config = await this.#config(version, variant);
    return [await this.#zygotes.take(), config];
  }

  #config(version: Version, variant: Variant): Promise<Buffer> {
    const name = configName(version, variant);
    let compiling = this.#compiling.get(name);
    if (!compiling) {
      compiling = this.#cachedConfig(name, version, variant).finally(() => this.#compiling.delete(name));
      this.#compiling.set(name, compiling);
    }
    return compiling;
  }

  async #cachedConfig(name: string, version: Version, variant: Variant): Promise<Buffer> {
    const { cacheDir, blobs, vault } = this.#options;
    const path = join(cacheDir, name);
    try {
      return vault.unsealBytes(await readFile(path));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        log('warn', 'a compiled configuration is made anew', { error: reason(error) });
    }
    const config = await compileConfig(version, variant, blobs, vault);
    await writeFile(`${path}.new`, vault.sealBytes(config), { mode: 0o600 });
    await rename(`${path}.new`, path);
    void boundCache(cacheDir);
    return config;
  }

  /** Their names are only known to the script; these are the calls that its source shows. */
  async #serviceWorkerHandlers(version: Version): Promise<string[]> {
    const main = version.modules.find((module) => module.name === version.mainModule);
    const source = (main && (await this.#options.blobs.get(main.hash))?.toString()) ?? '';
    const found = [...source.matchAll(/addEventListener\(\s*["'`](\w+)["'`]/g)].map((match) => match[1]!);
    return [...new Set(found)];
  }

  async #clear(zygote: Zygote, attached: boolean): Promise<void> {
    try {
      if (attached) await this.#options.detach(zygote.id);
      await rm(zygote.directory, { recursive: true, force: true });
    } catch (error) {
      log('warn', 'an isolate process left things behind', { isolate: zygote.id, error: reason(error) });
    }
  }
}

function startLimits() {
  return { wallMs: LIMITS.startupWallMs, cpuMs: LIMITS.startupCpuMs };
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
  const child = spawn('prlimit', [`--pid=${isolate.pid}`, `--data=${bytes}:${bytes}`], { stdio: 'ignore' });
  child.on('error', (error) =>
    log('warn', 'memory of a process is not bounded by the kernel', { error: error.message }),
  );
}

/** Removes the configurations that were used longest ago. */
async function boundCache(directory: string): Promise<void> {
  const names = await readdir(directory);
  if (names.length <= MAX_CACHED_CONFIGS) return;
  const ages = await Promise.all(
    names.map(async (name) => ({ name, used: (await stat(join(directory, name)).catch(() => null))?.atimeMs ?? 0 })),
  );
  ages.sort((a, b) => a.used - b.used);
  for (const { name } of ages.slice(0, names.length - MAX_CACHED_CONFIGS))
    await rm(join(directory, name), { force: true });
}
