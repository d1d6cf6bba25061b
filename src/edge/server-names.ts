/** What the server name of a ClientHello leads to: the Worker that wakes while the handshake goes on, and the certificate. */
import { createSecureContext, type SecureContext } from 'node:tls';
import { log, reason } from '../model/log.ts';
import type { Edge } from './handle.ts';
import { hostOf } from './headers.ts';

const CERTIFICATE_TIMEOUT_MS = 5_000;
/** How long a certificate is used before the supervisor is asked again, which renews it in time. */
const CERTIFICATE_AGE_MS = 12 * 3_600_000;
/** Certificates that are kept ready, by server name. */
const MAX_CERTIFICATES = 5_000;

/** The ClientHello names the host: a Worker that sleeps wakes while the handshake goes on. */
export function wakeByName(edge: Edge, serverName: string): void {
  const { snapshot } = edge;
  const target = snapshot.routes.find(hostOf(serverName), '/', 'https');
  if (!target) return;
  const shares = snapshot.routes.script(target.accountId, target.script)?.deployment?.versions ?? [];
  for (const id of target.versionId ? [target.versionId] : shares.map(({ versionId }) => versionId)) {
    if (!snapshot.version(id)?.hasCode || snapshot.instances.pick(id)) continue;
    // The request itself will tell the eyeball if it does not start.
    snapshot.instances
      .wake(id)
      .catch((error: unknown) => log('debug', 'not woken by name', { id, error: reason(error) }));
  }
}

/** Certificates by server name, made by the supervisor at first use; the least recently used go first. */
export class Certificates {
  readonly #edge: Edge;
  readonly #contexts = new Map<string, { context: Promise<SecureContext>; until: number }>();

  constructor(edge: Edge) {
    this.#edge = edge;
  }

  /** Throws for names that are not served here: the handshake ends with an alert. */
  of(serverName: string): Promise<SecureContext> {
    const name = hostOf(serverName);
    const known = this.#contexts.get(name);
    if (known && known.until > Date.now()) {
      this.#contexts.delete(name);
      this.#contexts.set(name, known);
      return known.context;
    }
    if (!this.#edge.snapshot.routes.serves(name)) return Promise.reject(new Error(`${name} is not served here`));
    const context = this.#make(name);
    context.catch(() => this.#contexts.delete(name));
    this.#contexts.delete(name);
    this.#contexts.set(name, { context, until: Date.now() + CERTIFICATE_AGE_MS });
    if (this.#contexts.size > MAX_CERTIFICATES) this.#contexts.delete(this.#contexts.keys().next().value!);
    return context;
  }

  async #make(serverName: string): Promise<SecureContext> {
    const made = await this.#edge.bus.request(
      'local.certificate',
      { serverName },
      { timeoutMs: CERTIFICATE_TIMEOUT_MS },
    );
    if (!made) throw new Error(`there is no certificate for ${serverName}`);
    return createSecureContext({ cert: made.cert, key: made.key });
  }
}
