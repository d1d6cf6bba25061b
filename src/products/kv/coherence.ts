/**
 * Keeps the memories of isolate processes true: remembers which process may keep which key, and tells it when the key is written, before
 * the write is acknowledged. A process that does not answer in time (its Worker loops) hears of it when it turns again; what it keeps ends
 * by itself after a minute.
 */
import { Agent, request } from 'node:http';
import { log, reason } from '../../model/log.ts';

/** How long processes keep a value (`KEEP_MS` of system-workers/kv.js), and some time for its way there. */
const KEPT_MS = 70_000;
const TELL_TIMEOUT_MS = 1_000;
/** Keys remembered for each half of the time; above it a process is told of all writes. */
const MAX_KEYS = 100_000;

interface Listener {
  namespaces: Set<string>;
  /** Of its socket for writes. */
  path: string;
  agent: Agent;
}

export class Coherence {
  readonly #listeners = new Map<string, Listener>();
  /** Key -> isolates that read it, of now and of the time before. */
  #reads = new Map<string, Set<string>>();
  #before = new Map<string, Set<string>>();
  /** Isolates that are told of all writes to their namespaces, because their reads were too many to be remembered. */
  #all = new Set<string>();
  #allBefore = new Set<string>();
  readonly #timer: NodeJS.Timeout;

  constructor() {
    this.#timer = setInterval(() => this.#turn(), KEPT_MS).unref();
  }

  /** `path`: where the process hears of writes. One that runs already (this process was started anew) drops all that it keeps. */
  attach(isolate: string, namespaces: string[], path: string): void {
    const listener = { namespaces: new Set(namespaces), path, agent: new Agent({ keepAlive: true, maxSockets: 4 }) };
    this.#listeners.set(isolate, listener);
    // A process that is just starting keeps nothing, and does not listen yet.
    tell(listener, { namespace: null, keys: null }).catch(() => undefined);
  }

  detach(isolate: string): void {
    this.#listeners.get(isolate)?.agent.destroy();
    this.#listeners.delete(isolate);
  }

  /** The process may keep what it is about to read. */
  reads(isolate: string, namespace: string, key: string): void {
    if (this.#reads.size >= MAX_KEYS) {
      this.#all.add(isolate);
      return;
    }
    const id = `${namespace}/${key}`;
    const readers = this.#reads.get(id);
    if (readers) readers.add(isolate);
    else this.#reads.set(id, new Set([isolate]));
  }

  /** Resolves when the processes that may keep one of the keys (null: of all keys) have dropped them. Never rejects. */
  async written(namespace: string, keys: string[] | null): Promise<void> {
    const told: Promise<void>[] = [];
    for (const [isolate, listener] of this.#listeners) {
      if (!listener.namespaces.has(namespace)) continue;
      const tellAll = this.#all.has(isolate) || this.#allBefore.has(isolate);
      const own = keys && !tellAll ? keys.filter((key) => this.#mayKeep(isolate, `${namespace}/${key}`)) : keys;
      if (own?.length === 0) continue;
      told.push(
        tell(listener, { namespace, keys: own }).catch((error: unknown) => {
          log('debug', 'a process was not told of a write to KV', { isolate, error: reason(error) });
        }),
      );
    }
    await Promise.all(told);
  }

  close(): void {
    clearInterval(this.#timer);
    for (const { agent } of this.#listeners.values()) agent.destroy();
    this.#listeners.clear();
  }

  #mayKeep(isolate: string, id: string): boolean {
    return (this.#reads.get(id)?.has(isolate) ?? false) || (this.#before.get(id)?.has(isolate) ?? false);
  }

  #turn(): void {
    this.#before = this.#reads;
    this.#reads = new Map();
    this.#allBefore = this.#all;
    this.#all = new Set();
  }
}

function tell({ path, agent }: Listener, message: { namespace: string | null; keys: string[] | null }): Promise<void> {
  const body = Buffer.from(JSON.stringify(message));
  return new Promise((resolve, reject) => {
    const asked = request(
      {
        socketPath: path,
        method: 'POST',
        path: '/',
        headers: { host: 'kv', 'content-length': body.length },
        agent,
        timeout: TELL_TIMEOUT_MS,
      },
      (response) => {
        response.resume();
        response.once('end', resolve);
        response.once('error', reject);
      },
    );
    // The request stays: a process that is busy reads it later.
    asked.once('timeout', resolve);
    asked.once('error', reject);
    asked.end(body);
  });
}
