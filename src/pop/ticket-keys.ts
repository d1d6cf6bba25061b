/**
 * The key of TLS session tickets: one for all edge processes, so that a client resumes its session at whichever the kernel gives it to. It is
 * in memory only, and changes twice a day: a ticket tells nothing of traffic older than that (RFC 8446, 8.1; RFC 9325, 3.4).
 */
import { randomBytes } from 'node:crypto';
import type { Publications } from '../model/messages.ts';
import type { Bus } from '../state/bus.ts';

/** Node: 16 bytes of name, 16 for HMAC, 16 for AES. */
const KEY_BYTES = 48;
const ROTATE_MS = 12 * 3_600_000;

export class TicketKeys {
  #keys = randomBytes(KEY_BYTES).toString('base64');
  readonly #timer: NodeJS.Timeout;

  constructor(bus: Pick<Bus, 'publish'>) {
    this.#timer = setInterval(() => {
      this.#keys = randomBytes(KEY_BYTES).toString('base64');
      bus.publish('local.ticket-keys', this.current());
    }, ROTATE_MS);
    this.#timer.unref();
  }

  current(): Publications['local.ticket-keys'] {
    return { keys: this.#keys };
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
