/**
 * One isolate process from the moment it got its configuration: its sockets, its end and why it ended.
 *
 * Facts of workerd that others rely on: a Worker that throws, or whose promise cannot settle any more, answers with a bare 500:
 * `Connection: close`, then `Content-Length: 21`, no other header. A Worker's own `connection` header is dropped. Where a request's body
 * was not read, or asked for `Connection: close`, workerd adds it to the Worker's own answer too, but behind the length. Only while the
 * process drains (SIGTERM) a Worker's own 500 of 21 bytes without a content type looks the same. SIGTERM finishes open requests but
 * cancels `waitUntil`; a heap limit ends the process with exit code 1 and a message on standard error.
 */
import type { ChildProcess } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { machineMs } from '../../model/clock.ts';
import type { Version } from '../../model/documents.ts';
import type { IsolateRef, Verdict } from '../../model/messages.ts';
import { doorSockets } from '../../products/durable-objects/other-worker.ts';
import { hasSystemWorker, rpcSockets, type Variant } from './config.ts';
import { OWN } from './directory.ts';
import { cpuMs, openFiles, privateBytes } from './process-stats.ts';
import type { Zygote } from './zygotes.ts';

/** A scheduled() handler may take this long (https://developers.cloudflare.com/workers/platform/limits/). */
const SCHEDULED_TIMEOUT_MS = 15 * 60_000;
/** How long `verdict()` waits for the process to end. */
const VERDICT_WAIT_MS = 500;
const OUT_OF_MEMORY = /heap limit|heap out of memory|Out of memory|OOM/i;

export interface IsolateEvents {
  /** It was told to die and does nothing any more, though its sockets may still take connections for a moment. 'exit' follows. */
  killed: [];
  exit: [verdict: Verdict];
}

export class Isolate extends EventEmitter<IsolateEvents> {
  readonly ref: IsolateRef;
  readonly version: Version;
  readonly tailed: boolean;
  readonly pid: number;
  readonly startedAt = Date.now();
  readonly directory: string;
  /** Files it had open when it began to listen: what it has more is connections. */
  readonly filesAtStart: number;
  /** Set by the watchdog: kernel's CPU time of the process, and memory it shares with no file. */
  cpuMs = 0;
  memoryBytes = 0;
  /** Set by the watchdog: it does not answer its ping. */
  busy = false;
  /** Set by the fleet: it holds requests, so the watchdog looks closely. */
  active = false;
  readonly #process: ChildProcess;
  readonly #output: () => string;
  /** When it was killed by us, in `machineMs`: what was sent to it later was never seen by the Worker. */
  killedAt: number | null = null;
  #verdict: Verdict | null = null;
  #ended = false;

  constructor(zygote: Zygote, version: Version, variant: Variant, output: () => string) {
    super();
    this.version = version;
    this.tailed = variant.tailed;
    this.directory = zygote.directory;
    this.pid = zygote.workerdPid();
    this.#process = zygote.process;
    this.#output = output;
    const at = (file: string) => join(zygote.directory, OWN, file);
    const rpc = Object.entries(rpcSockets(variant.entrypoints)).map(([name, file]) => [name, at(file)]);
    const objects = Object.entries(doorSockets(version)).map(([id, file]) => [id, at(file)]);
    this.ref = {
      id: zygote.id,
      main: at('m.sock'),
      rpc: Object.fromEntries(rpc),
      objects: Object.fromEntries(objects),
    };
    this.filesAtStart = openFiles(this.pid) ?? 0;
    this.readStats();
    // Not 'exit': the message about the heap limit may arrive after that.
    zygote.process.once('close', (code) => this.#onExit(code));
  }

  /** Where the system Worker takes events; nobody listens there if the Worker has no handlers of any. */
  get eventSocket(): string {
    return join(this.directory, OWN, 'p.sock');
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Reads the kernel's accounting; returns the CPU ms since the last reading. */
  readStats(): number {
    const before = this.cpuMs;
    this.cpuMs = cpuMs(this.pid) ?? before;
    this.memoryBytes = privateBytes(this.pid) ?? this.memoryBytes;
    return this.cpuMs - before;
  }

  /** Why it ended; waits up to half a second if it has not yet. 'unknown' if it lives. */
  async verdict(): Promise<Verdict> {
    if (this.#ended) return this.#verdict ?? 'exception';
    if (this.#verdict) return this.#verdict;
    const waited = once(this, 'exit', { signal: AbortSignal.timeout(VERDICT_WAIT_MS) });
    return waited.then(([verdict]) => verdict as Verdict).catch(() => this.#verdict ?? 'unknown');
  }

  /**
   * Resolves when the process's event loop turns: a line that is no HTTP is answered with 400 by workerd itself, on the Worker's socket,
   * without running anything of the Worker.
   */
  ping(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.ref.main);
      socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no answer to a ping within ${timeoutMs} ms`)));
      socket.once('data', () => resolve());
      // After an answer these come too late to matter.
      socket.on('data', () => socket.destroy()).on('error', reject);
      socket.on('close', () => reject(new Error('the process closed the connection')));
      socket.write('PING\r\n\r\n');
    });
  }

  /** Runs scheduled() of the Worker and tells how it ended: 'ok' or 'exception'. */
  async scheduled(cron: string, scheduledTime: number): Promise<{ outcome: string }> {
    if (!hasSystemWorker(this.version)) throw new Error(`the Worker ${this.version.script} has no scheduled() handler`);
    const answer = await this.#ask('POST', '/scheduled', JSON.stringify({ cron, scheduledTime }), SCHEDULED_TIMEOUT_MS);
    return JSON.parse(answer) as { outcome: string };
  }

  /** Lets open requests finish for at most `graceMs`, then ends it. Its verdict is 'drained'. */
  async stop(graceMs: number): Promise<void> {
    if (this.#ended) return;
    this.#verdict ??= 'drained';
    const gone = once(this, 'exit');
    this.#signal('SIGTERM');
    const timer = setTimeout(() => this.#signal('SIGKILL'), graceMs);
    await gone;
    clearTimeout(timer);
  }

  /** Ends it at once, for this reason. */
  kill(verdict: Verdict): void {
    if (this.#ended) return;
    this.#verdict ??= verdict;
    this.#signal('SIGKILL');
    if (this.killedAt !== null) return;
    this.killedAt = machineMs();
    this.emit('killed');
  }

  /** To workerd itself: a signal to the sandbox around it would end everything without draining. */
  #signal(signal: NodeJS.Signals): void {
    try {
      process.kill(this.pid, signal);
    } catch {
      // Gone in this moment, or its pid was never known: the outer process takes it along.
      this.#process.kill('SIGKILL');
    }
  }

  #onExit(code: number | null): void {
    this.#ended = true;
    if (!this.#verdict)
      this.#verdict = code !== 0 && OUT_OF_MEMORY.test(this.#output()) ? 'exceededMemory' : 'exception';
    this.emit('exit', this.#verdict);
  }

  async #ask(method: string, path: string, body: string, timeoutMs: number): Promise<string> {
    const asked = request({
      socketPath: this.eventSocket,
      path,
      method,
      headers: { host: 'system', 'content-length': Buffer.byteLength(body) },
      agent: false,
      signal: AbortSignal.timeout(timeoutMs),
    });
    asked.end(body);
    const [response] = await once(asked, 'response');
    const answer = await text(response);
    if (response.statusCode !== 200) throw new Error(`the process answered ${response.statusCode} to ${path}`);
    return answer;
  }
}
