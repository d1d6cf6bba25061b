/**
 * MD5 of bodies in a thread beside the one that receives them: S3's ETag needs it, and it is the slowest thing that is done to an upload.
 * Small bodies are hashed where they are: passing them over would cost more.
 */
import { createHash, type Hash } from 'node:crypto';
import { Worker } from 'node:worker_threads';

/** Bytes that are gathered before they are passed over. */
const BATCH_BYTES = 512 * 1024;
/** Bytes of one body that the thread may have before it. */
const MAX_WAITING_BYTES = 2 * 1024 * 1024;
/** Batches that wait to be filled again: new ones would be garbage by the gigabyte, here and in the thread. */
const MAX_SPARE = 8;
/** Of the thread's own heap: all that it has are hashes. */
const YOUNG_MB = 1;

export interface HashRequest {
  id: number;
  /** BATCH_BYTES, of which the first `length` are of the body. */
  batch?: Uint8Array<ArrayBuffer>;
  length?: number;
  /** 'forget': nobody wants to know any more. */
  end?: 'digest' | 'forget';
}
export interface HashAnswer {
  id: number;
  /** Bytes. */
  taken: number;
  batch?: Uint8Array<ArrayBuffer>;
  digest?: string;
}

export interface BodyHash {
  /** Resolves when more may come. The chunk is not kept. */
  update(chunk: Uint8Array): Promise<void> | void;
  /** In hex. */
  digest(): Promise<string>;
  /** Instead of `digest`, for a body that broke off. */
  forget(): void;
}

/** Starts its thread with the first large body. */
export class HashThread {
  readonly #open = new Map<number, ThreadedHash>();
  readonly #spare: Uint8Array<ArrayBuffer>[] = [];
  #worker: Worker | null = null;
  #next = 0;

  create(): BodyHash {
    return new ThreadedHash(
      this.#next++,
      (hash, request) => this.#send(hash, request),
      () => this.#spare.pop() ?? new Uint8Array(BATCH_BYTES),
    );
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #send(hash: ThreadedHash, request: HashRequest): void {
    if (request.end === 'forget') this.#open.delete(request.id);
    else this.#open.set(request.id, hash);
    this.#worker ??= this.#start();
    this.#worker.postMessage(request, request.batch ? [request.batch.buffer] : []);
  }

  #start(): Worker {
    const worker = new Worker(new URL('./hash-worker.js', import.meta.url), {
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MB },
    });
    worker.unref();
    worker.on('message', (answer: HashAnswer) => {
      const hash = this.#open.get(answer.id);
      if (answer.digest !== undefined) this.#open.delete(answer.id);
      if (answer.batch && this.#spare.length < MAX_SPARE) this.#spare.push(answer.batch);
      hash?.answered(answer);
    });
    worker.on('error', (error) => {
      this.#worker = null;
      for (const hash of this.#open.values()) hash.failed(error instanceof Error ? error : new Error(String(error)));
      this.#open.clear();
    });
    return worker;
  }
}

class ThreadedHash implements BodyHash {
  readonly #id: number;
  readonly #send: (hash: ThreadedHash, request: HashRequest) => void;
  readonly #take: () => Uint8Array<ArrayBuffer>;
  /** Until the first batch is full: a body that ends before is hashed here. */
  #batch: Uint8Array[] = [];
  #batchBytes = 0;
  #passedOver = false;
  #waitingBytes = 0;
  #wanted: { resolve: (value: never) => void; reject: (error: Error) => void } | null = null;
  #error: Error | null = null;

  constructor(
    id: number,
    send: (hash: ThreadedHash, request: HashRequest) => void,
    take: () => Uint8Array<ArrayBuffer>,
  ) {
    this.#id = id;
    this.#send = send;
    this.#take = take;
  }

  update(chunk: Uint8Array): Promise<void> | void {
    this.#batch.push(chunk);
    this.#batchBytes += chunk.byteLength;
    if (this.#batchBytes < BATCH_BYTES) return;
    this.#pass();
    if (this.#error) throw this.#error;
    if (this.#waitingBytes > MAX_WAITING_BYTES) return this.#answer();
  }

  async digest(): Promise<string> {
    if (!this.#passedOver) {
      const hash: Hash = createHash('md5');
      for (const chunk of this.#batch) hash.update(chunk);
      return hash.digest('hex');
    }
    if (this.#error) throw this.#error;
    this.#pass('digest');
    return this.#answer();
  }

  forget(): void {
    this.#batch = [];
    if (this.#passedOver) this.#send(this, { id: this.#id, end: 'forget' });
  }

  answered({ taken, digest }: HashAnswer): void {
    this.#waitingBytes -= taken;
    if (digest === undefined && this.#waitingBytes > MAX_WAITING_BYTES / 2) return;
    const wanted = this.#wanted;
    // Who waits for the digest waits on.
    if (!wanted || (digest === undefined && this.#ending)) return;
    this.#wanted = null;
    wanted.resolve(digest as never);
  }

  failed(error: Error): void {
    this.#error = error;
    this.#wanted?.reject(error);
    this.#wanted = null;
  }

  #ending = false;

  #answer<T>(): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#wanted = { resolve: resolve as (value: never) => void, reject };
    });
  }

  /** A copy goes over: the chunks belong to who gave them. */
  #pass(end?: 'digest'): void {
    this.#waitingBytes += this.#batchBytes;
    this.#passedOver = true;
    this.#ending = end !== undefined;
    let batch = this.#take();
    let length = 0;
    for (const chunk of this.#batch) {
      for (let rest = chunk; rest.byteLength > 0; ) {
        const part = rest.subarray(0, BATCH_BYTES - length);
        rest = rest.subarray(part.byteLength);
        batch.set(part, length);
        length += part.byteLength;
        if (length < BATCH_BYTES) continue;
        this.#send(this, { id: this.#id, batch, length });
        batch = this.#take();
        length = 0;
      }
    }
    this.#batch = [];
    this.#batchBytes = 0;
    this.#send(this, { id: this.#id, batch, length, ...(end && { end }) });
  }
}
