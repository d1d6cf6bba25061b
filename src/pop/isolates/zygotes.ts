/**
 * Zygotes: workerd processes that were started ahead in their sandbox and wait for a configuration on standard input. A start then
 * costs the script only.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { WorkerObjects } from '../../model/documents.ts';
import { log, reason } from '../../model/log.ts';
import { placesOf } from '../../products/durable-objects/binding.ts';
import { makeDirectory, type ObjectDirectory, unmakeDirectory } from './directory.ts';
import { type Sandbox, sandboxCommand, uidOf, uidOfObjects } from './sandbox.ts';

/** Name of workerd's processes (comm in proc(5)). */
const RUNTIME = 'workerd';
const SERVE = ['serve', '--experimental', '--binary', '--control-fd=3', '-'];
/** A taken zygote is replaced when its own start is over, not beside it. */
const REFILL_AFTER_MS = 100;
/** After a failed start the pool waits this long before it tries again. */
const RETRY_MS = 1_000;

export interface Zygote {
  id: string;
  /** The process's working directory (`directory.ts`). */
  directory: string;
  /** Its own uid; null if it has the supervisor's. */
  uid: number | null;
  process: ChildProcess;
  /** Host pid of workerd itself; known when it runs. */
  workerdPid(): number;
  /**
   * The sandbox is set up and workerd runs in it. Only then it may get its configuration: before, its death with the supervisor is not
   * certain, except by the end of its standard input.
   */
  runs(): boolean;
}

export class Zygotes {
  readonly #sandbox: Sandbox;
  readonly #runDir: string;
  readonly #wanted: number;
  readonly #ready: Zygote[] = [];
  #starting = 0;
  #count = 0;
  #closed = false;

  /** `wanted`: how many are kept; 0 starts each process when it is needed. */
  constructor(sandbox: Sandbox, runDir: string, wanted: number) {
    this.#sandbox = sandbox;
    this.#runDir = runDir;
    this.#wanted = wanted;
    this.refill();
  }

  get count(): number {
    return this.#ready.length;
  }

  /** A process that waits for its configuration. */
  async take(): Promise<Zygote> {
    if (this.#closed) throw new Error('this machine is shutting down');
    const zygote = this.#ready.shift();
    if (zygote && zygote.process.exitCode === null && zygote.process.signalCode === null) {
      // The next one is started when this one is through with its start.
      setTimeout(() => this.refill(), REFILL_AFTER_MS).unref();
      return zygote;
    }
    return this.#start(SERVE);
  }

  /**
   * A process that knows no experimental features, for inspecting a script: so the runtime itself refuses their flags. (Ours need one
   * for the system Worker.)
   */
  strict(): Promise<Zygote> {
    return this.#start(SERVE.filter((arg) => arg !== '--experimental'));
  }

  /** A process of its own for a Worker with Durable Objects. `directory`: of all objects of the machine. */
  withObjects(directory: string, objects: WorkerObjects): Promise<Zygote> {
    const directories = placesOf(objects).map(({ storage, id }) => ({ name: id, path: join(directory, storage, id) }));
    return this.#start(SERVE, { directories, uid: uidOfObjects(objects.storage) });
  }

  refill(): void {
    while (!this.#closed && this.#ready.length + this.#starting < this.#wanted) {
      this.#starting++;
      this.#start(SERVE)
        .then(
          (zygote) => {
            if (this.#closed) return void zygote.process.kill('SIGKILL');
            this.#ready.push(zygote);
            zygote.process.once('exit', () => this.#forget(zygote));
          },
          (error: unknown) => {
            log('error', 'a zygote does not start', { error: reason(error) });
            setTimeout(() => this.refill(), RETRY_MS).unref();
          },
        )
        .finally(() => {
          this.#starting--;
        });
    }
  }

  close(): void {
    this.#closed = true;
    for (const { process, directory } of this.#ready.splice(0)) {
      process.kill('SIGKILL');
      void rm(directory, { recursive: true, force: true });
    }
  }

  #forget(zygote: Zygote): void {
    const index = this.#ready.indexOf(zygote);
    if (index < 0) return;
    // It died while it waited.
    this.#ready.splice(index, 1);
    void rm(zygote.directory, { recursive: true, force: true });
    setTimeout(() => this.refill(), RETRY_MS).unref();
  }

  async #start(serve: string[], objects?: { directories: ObjectDirectory[]; uid: number | null }): Promise<Zygote> {
    const index = this.#count++;
    const id = `i${index}`;
    const uid = objects ? objects.uid : uidOf(index);
    const directory = join(this.#runDir, 'i', id);
    await makeDirectory(directory, uid, objects?.directories);
    try {
      const process = await this.#spawn(directory, uid, serve, objects?.directories);
      const workerdPid = () => youngest(process.pid!);
      return { id, directory, uid, process, workerdPid, runs: () => nameOf(workerdPid()) === RUNTIME };
    } catch (error) {
      await unmakeDirectory(directory).catch((left: unknown) =>
        log('warn', 'a directory is left', { directory, error: reason(left) }),
      );
      throw error;
    }
  }

  /** Throws if the kernel has no process or descriptor to give. */
  async #spawn(
    directory: string,
    uid: number | null,
    serve: string[],
    objects?: ObjectDirectory[],
  ): Promise<ChildProcess> {
    const { command, args } = sandboxCommand(this.#sandbox.level, directory, uid, serve, objects);
    const child = spawn(command, args, {
      // Signals of the terminal are for the supervisor.
      detached: true,
      cwd: directory,
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    });
    // Errors of stdin (a process that died before it read) show as its exit.
    child.stdin?.on('error', () => undefined);
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      // Stays: a signal that cannot be sent is an 'error' too.
      child.on('error', reject);
    });
    return child;
  }
}

/** Follows only children from `pid` (unshare and the like) down to the last one. */
function youngest(pid: number): number {
  for (;;) {
    let children: string[];
    try {
      // Threads are no children: workerd has none.
      children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
    } catch {
      // Gone in this moment: its end is told by 'exit'.
      return pid;
    }
    if (children.length !== 1) return pid;
    pid = Number(children[0]);
  }
}

function nameOf(pid: number): string | null {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return null;
  }
}
