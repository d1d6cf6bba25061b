/**
 * MD5 of bodies in a thread beside the one that receives them: S3's ETag needs it, and it is the slowest thing that is done to an upload.
 * Small bodies are hashed where they are: passing them over would cost more.
 */
import { createHash, type Hash } from 'node:crypto';
import { Worker } from 'node:worker_threads';

/** Bytes that are gathered before they are passed over. */
const BATCH_BYTES = 512 * 1024;
/** Bytes of one body that the thread may have before it. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;

export interface HashRequest {
  id: number;
  bytes?: Uint8Array;
  /** 'forget': nobody wants to know any more. */
  end?: 'digest' | 'forget';
}
export interface HashAnswer {
  id: number;
  /** Bytes. */
  taken: number;
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
  #worker: Worker | null = null;
  #next = 0;

  create(): BodyHash {
    return new ThreadedHash(this.#next++, (hash, request, transfer) => this.#send(hash, request, transfer));
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #send(hash: ThreadedHash, request: HashRequest, transfer: ArrayBuffer[]): void {
    if (request.end === 'forget') this.#open.delete(request.id);
    else this.#open.set(request.id, hash);
    this.#worker ??= this.#start();
    this.#worker.postMessage(request, transfer);
  }

  #start(): Worker {
    const worker = new Worker(new URL('./hash-worker.ts', import.meta.url));
    worker.unref();
    worker.on('message', (answer: HashAnswer) => {
      const hash = this.#open.get(answer.id);
      if (answer.digest !== undefined) this.#open.delete(answer.id);
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
  readonly #send: (hash: ThreadedHash, request: HashRequest, transfer: ArrayBuffer[]) => void;
  /** Until the first batch is full: a body that ends before is hashed here. */
  #batch: Uint8Array[] = [];
  #batchBytes = 0;
  #passedOver = false;
  #waitingBytes = 0;
  #wanted: { resolve: (value: never) => void; reject: (error: Error) => void } | null = null;
  #error: Error | null = null;

  constructor(id: number, send: (hash: ThreadedHash, request: HashRequest, transfer: ArrayBuffer[]) => void) {
    this.#id = id;
    this.#send = send;
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
    if (this.#passedOver) this.#send(this, { id: this.#id, end: 'forget' }, []);
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
    const bytes = new Uint8Array(this.#batchBytes);
    let at = 0;
    for (const chunk of this.#batch) {
      bytes.set(chunk, at);
      at += chunk.byteLength;
    }
    this.#waitingBytes += this.#batchBytes;
    this.#batch = [];
    this.#batchBytes = 0;
    this.#passedOver = true;
    this.#ending = end !== undefined;
    this.#send(this, { id: this.#id, bytes, ...(end && { end }) }, [bytes.buffer as ArrayBuffer]);
  }
}
