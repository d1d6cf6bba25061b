/**
 * WebSockets between an eyeball and its Worker: frames flow both ways as they are, close frames included. The edge bounds what an eyeball
 * sends, pings one that is silent, and lets go of one that is gone.
 */
import type { Socket } from 'node:net';
import type { ListenerLimits } from '../model/settings.ts';
import { closeFrame, FrameWalker, PING } from './frames.ts';
import type { LimitHits } from './limit-hits.ts';

/** When one side has ended, the other one gets this long to take what is still on its way. */
const FLUSH_TIMEOUT_MS = 10_000;
const MAX_SWEEP_MS = 5_000;
/** RFC 6455, 7.4.1. */
const GOING_AWAY = 1001;

interface Pair {
  /** When the eyeball was heard last, and pinged last. */
  heardAt: number;
  pingedAt: number;
  ping(): void;
  close(code: number): void;
}

export class WebSocketRelay {
  readonly #limits: ListenerLimits;
  readonly #hits: LimitHits;
  readonly #pairs = new Set<Pair>();
  readonly #timer: NodeJS.Timeout;

  constructor(limits: ListenerLimits, hits: LimitHits) {
    this.#limits = limits;
    this.#hits = hits;
    const sweepMs = Math.min(MAX_SWEEP_MS, Math.ceil(Math.min(limits.websocketPingMs, limits.websocketIdleMs) / 4));
    this.#timer = setInterval(() => this.#sweep(), sweepMs);
    this.#timer.unref();
  }

  get open(): number {
    return this.#pairs.size;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Joins the two; `early` is what the eyeball sent behind its request. */
  join(eyeball: Socket, isolate: Socket, early: Buffer): void {
    const fromEyeball = new FrameWalker(this.#limits.websocketMessageBytes);
    const fromIsolate = new FrameWalker(Number.POSITIVE_INFINITY);
    let pingDue = false;
    let closing: number | null = null;
    isolate.setTimeout(0);

    const pair: Pair = {
      heardAt: Date.now(),
      pingedAt: 0,
      ping() {
        // Amid a frame of the Worker's it waits for the end of it.
        if (fromIsolate.atBoundary) eyeball.write(PING);
        else pingDue = true;
      },
      close(code) {
        closing = code;
        isolate.end(closeFrame(code, true));
        if (fromIsolate.atBoundary) eyeball.write(closeFrame(code));
        eyeball.setTimeout(FLUSH_TIMEOUT_MS, () => eyeball.destroy());
        eyeball.end();
        eyeball.resume();
      },
    };
    this.#pairs.add(pair);
    eyeball.once('close', () => this.#pairs.delete(pair));

    const onEyeball = (chunk: Buffer) => {
      pair.heardAt = Date.now();
      if (closing !== null) return;
      const good = fromEyeball.push(chunk);
      if (good > 0 && !isolate.write(good === chunk.length ? chunk : chunk.subarray(0, good))) eyeball.pause();
      if (fromEyeball.error === null) return;
      if (fromEyeball.error === 1009) this.#hits.hit('websocket_message_bytes');
      pair.close(fromEyeball.error);
    };
    const onIsolate = (chunk: Buffer) => {
      if (closing !== null) return;
      fromIsolate.push(chunk);
      if (!eyeball.write(chunk)) isolate.pause();
      if (!pingDue || !fromIsolate.atBoundary) return;
      pingDue = false;
      eyeball.write(PING);
    };
    eyeball.on('data', onEyeball).on('drain', () => isolate.resume());
    isolate.on('data', onIsolate).on('drain', () => eyeball.resume());
    for (const [from, to] of [
      [isolate, eyeball],
      [eyeball, isolate],
    ] as const) {
      from.on('end', () => to.end());
      from.on('error', () => to.destroy());
      from.on('close', () => {
        to.setTimeout(FLUSH_TIMEOUT_MS, () => to.destroy());
        to.destroySoon();
      });
    }
    if (early.length > 0) onEyeball(early);
  }

  #sweep(): void {
    const now = Date.now();
    const { websocketPingMs, websocketIdleMs } = this.#limits;
    for (const pair of this.#pairs) {
      const silent = now - pair.heardAt;
      if (silent >= websocketIdleMs) {
        this.#hits.hit('websocket_idle_ms');
        this.#pairs.delete(pair);
        pair.close(GOING_AWAY);
      } else if (silent >= websocketPingMs && now - pair.pingedAt >= websocketPingMs) {
        pair.pingedAt = now;
        pair.ping();
      }
    }
  }
}
