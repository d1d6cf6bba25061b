/**
 * Queues in the configuration of an isolate process: the runtime's own binding of producers, behind which is the data process's socket.
 * The runtime sends no word of which queue it is, so each has a service that adds a header; the Worker cannot set it.
 */
import type { Binding } from '../../model/documents.ts';
import { list, literal, struct } from '../../pop/isolates/capnp.ts';
import type { ConfigParts } from '../product.ts';

type QueueBinding = Extract<Binding, { type: 'queue' }>;

export const QUEUE_HEADER = 'selvedge-queue';
export const DELAY_HEADER = 'selvedge-queue-delay';
/** The data process's socket for a process's producers. */
export const QUEUES_SOCKET = 'queues.sock';

function producers(bindings: readonly Binding[]): QueueBinding[] {
  return bindings.filter((binding): binding is QueueBinding => binding.type === 'queue');
}

/** Ids of the queues among bindings. */
export function boundQueues(bindings: readonly Binding[]): string[] {
  return [...new Set(producers(bindings).map(({ queueId }) => queueId))];
}

function serviceName({ queueId, deliveryDelay }: QueueBinding): string {
  return `queue-${queueId}-${deliveryDelay ?? 'own'}`;
}

export function queueParts(bindings: readonly Binding[]): ConfigParts {
  const services = new Map<string, string>();
  for (const binding of producers(bindings)) {
    const headers = [header(QUEUE_HEADER, binding.queueId)];
    if (binding.deliveryDelay !== undefined) headers.push(header(DELAY_HEADER, String(binding.deliveryDelay)));
    const http = struct({ injectRequestHeaders: list(headers) });
    const external = struct({ address: literal(`unix:${QUEUES_SOCKET}`), http });
    services.set(serviceName(binding), struct({ name: literal(serviceName(binding)), external }));
  }
  return { services: [...services.values()] };
}

function header(name: string, value: string): string {
  return struct({ name: literal(name), value: literal(value) });
}

/** The binding itself. */
export function queueBindingText(binding: QueueBinding & { name: string }): string {
  return struct({ name: literal(binding.name), queue: literal(serviceName(binding)) });
}
