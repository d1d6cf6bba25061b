/**
 * The request log: one JSON line per request, written in blocks by pino, rotated by size. Names of fields are those of Cloudflare's HTTP
 * request logs in snake case. Never in it: header values, cookies, the query (it may hold secrets), bodies.
 */
import { once } from 'node:events';
import { existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import pino from 'pino';
import { log, reason } from '../model/log.ts';
import type { RequestLogSettings } from '../model/settings.ts';
import type { Observer, RequestRecord } from './record.ts';

const BLOCK_BYTES = 64 * 1024;
/** What a disk that does not take it may make wait in memory; then records are lost, and counted. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;
const FLUSH_MS = 1_000;
/** A disk that takes nothing must not hold the process. */
const CLOSE_MS = 2_000;
/** A path may be as long as the header section. */
const MAX_PATH = 2_048;
/** For the operator and who he lets read. */
const FILE_MODE = 0o640;
const WARN_INTERVAL_MS = 60_000;

export class RequestLog implements Observer {
  readonly #settings: RequestLogSettings;
  readonly #path: string;
  readonly #destination: ReturnType<typeof pino.destination>;
  readonly #logger: pino.Logger;
  readonly #timer: NodeJS.Timeout;
  readonly #others: number;
  readonly #all: boolean;
  #size: number;
  #block = '';
  #warnedAt = 0;
  /** Records that were not written because the disk did not take them. */
  lost = 0;

  /** Appends to `path`; makes its directory. Throws what the system says if that cannot be. */
  constructor(settings: RequestLogSettings, path: string, colo: string) {
    this.#settings = settings;
    this.#path = path;
    this.#others = settings.sample['*'] ?? 1;
    this.#all = this.#others === 1 && Object.values(settings.sample).every((share) => share === 1);
    mkdirSync(dirname(path), { recursive: true, mode: 0o750 });
    this.#size = existsSync(path) ? statSync(path).size : 0;
    this.#destination = pino.destination({
      dest: path,
      sync: false,
      minLength: BLOCK_BYTES,
      maxWrite: 2 * BLOCK_BYTES,
      maxLength: MAX_WAITING_BYTES,
      mode: FILE_MODE,
    });
    this.#destination.on('write', (bytes: number) => this.#written(bytes));
    this.#destination.on('drop', () => this.#warn('it does not take what is written'));
    this.#destination.on('error', (error: Error) => this.#warn(reason(error)));
    this.#logger = pino(
      { base: null, timestamp: false, messageKey: 'message', formatters: { level: (level) => ({ level }) } },
      { write: (line: string) => this.#append(line) },
    );
    this.#timer = setInterval(() => this.#flush(), FLUSH_MS);
    this.#colo = colo.toUpperCase();
  }
  readonly #colo: string;

  done(record: RequestRecord): void {
    const { head, client, version } = record;
    if (!this.#all && !this.#sampled(head?.host ?? '')) return;
    this.#logger.info({
      time: new Date(record.time).toISOString(),
      ray: record.ray,
      colo: this.#colo,
      client: record.client.ip,
      country: client.country,
      protocol: client.protocol,
      scheme: client.scheme,
      method: head?.method,
      host: head?.host,
      path: head && (head.path.length > MAX_PATH ? head.path.slice(0, MAX_PATH) : head.path),
      status: record.status,
      outcome: record.outcome,
      bytes_in: record.bytesIn,
      bytes_out: record.bytesOut,
      route_ms: span(record.beganAt, record.routedAt),
      wake_ms: span(record.routedAt, record.sentAt),
      head_ms: span(record.sentAt || record.routedAt || record.beganAt, record.headAt),
      total_ms: span(record.beganAt, record.endedAt),
      cache: record.fromAssets ? 'asset' : 'none',
      account: version?.accountId,
      script: version?.script,
      version: version?.id,
    });
  }

  /** Writes what waits. Resolves when it is written, or after CLOSE_MS. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#flush();
    const closed = once(this.#destination, 'close');
    this.#destination.end();
    await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, CLOSE_MS).unref())]);
  }

  /** The destination measures all that waits in it with each write: it gets whole blocks. */
  #append(line: string): void {
    this.#block += line;
    if (this.#block.length < BLOCK_BYTES) return;
    this.#destination.write(this.#block);
    this.#block = '';
  }

  #flush(): void {
    if (this.#block !== '') this.#destination.write(this.#block);
    this.#block = '';
    this.#destination.flush();
  }

  #sampled(host: string): boolean {
    const share = this.#settings.sample[host] ?? this.#others;
    return share === 1 || Math.random() < share;
  }

  #written(bytes: number): void {
    this.#size += bytes;
    if (this.#size < this.#settings.maxBytes) return;
    this.#size = 0;
    try {
      rotate(this.#path, this.#settings.files);
      this.#destination.reopen();
    } catch (error) {
      this.#warn(reason(error));
    }
  }

  /** A full disk must neither stop the edge nor fill the log of the processes. */
  #warn(why: string): void {
    this.lost++;
    if (Date.now() - this.#warnedAt < WARN_INTERVAL_MS) return;
    this.#warnedAt = Date.now();
    log('error', 'the request log cannot be written', { path: this.#path, error: why });
  }
}

/** `x` becomes `x.1`, `x.1` becomes `x.2` and so on; the oldest goes. */
function rotate(path: string, files: number): void {
  rmSync(`${path}.${files}`, { force: true });
  for (let i = files - 1; i >= 1; i--) if (existsSync(`${path}.${i}`)) renameSync(`${path}.${i}`, `${path}.${i + 1}`);
  renameSync(path, `${path}.1`);
}

/** ms with three decimals between two points in time; undefined if one did not happen. */
function span(from: number, to: number): number | undefined {
  return from && to ? Math.round((to - from) * 1000) / 1000 : undefined;
}
