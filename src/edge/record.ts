/**
 * What is known of one request when it is over: for the request log, metering, metrics and the comparison of versions. Filled by the stages
 * on its way; `end` hands it to the observer exactly once.
 */
import type { EdgeError } from './error-pages.ts';
import type { Head } from './headers.ts';
import type { Client } from './identify.ts';
import type { VersionDoc } from './snapshot.ts';

/** `canceled`: the client left before the end. Others than `ok` name the error page, or what broke the answer off. */
export type Outcome = 'ok' | 'canceled' | EdgeError;

export interface Observer {
  done(record: RequestRecord): void;
}

export class RequestRecord {
  readonly #observer: Observer;
  #ended = false;
  readonly client: Client;
  /** `<ray>-<COLO>`. */
  readonly ray: string;
  /** ms since 1970. */
  readonly time = Date.now();
  /** Times in ms on the process's own clock; 0 for what did not happen. */
  readonly beganAt = performance.now();
  /** Route and version are found. */
  routedAt = 0;
  /** A process of the Worker is there: later than `routedAt` if it had to be woken. */
  sentAt = 0;
  /** The head of the answer goes out. */
  headAt = 0;
  endedAt = 0;
  /** null if it could not be read. */
  head: Head | null = null;
  version: VersionDoc | null = null;
  /** The request named its version itself. */
  chosen = false;
  status = 0;
  /** Bytes of the bodies. */
  bytesIn = 0;
  bytesOut = 0;
  outcome: Outcome = 'ok';
  /** Answered from static assets. */
  fromAssets = false;

  constructor(observer: Observer, client: Client, ray: string) {
    this.#observer = observer;
    this.client = client;
    this.ray = ray;
  }

  /** The head of the answer goes out. */
  answered(status: number): void {
    this.status = status;
    this.headAt = performance.now();
  }

  /** It is over; later calls change nothing. */
  end(outcome: Outcome = this.outcome): void {
    if (this.#ended) return;
    this.#ended = true;
    this.outcome = outcome;
    this.endedAt = performance.now();
    this.#observer.done(this);
  }
}
