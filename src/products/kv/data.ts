/** KV in the data process: the socket of each process that binds it, and what keeps their memories true. */
import { join } from 'node:path';
import type { Attach, Requests } from '../../model/messages.ts';
import type { Bus } from '../../state/bus.ts';
import type { DataProduct } from '../product.ts';
import { KV_WRITTEN_SOCKET, kvNamespaces } from './binding.ts';
import { Coherence } from './coherence.ts';
import type { Kv } from './open.ts';
import { createKvService } from './service.ts';

const MAX_CONNECTIONS = 512;

export function kvData(bus: Bus, { store, namespaces }: Pick<Kv, 'store' | 'namespaces'>): DataProduct {
  const coherence = new Coherence();
  const stop = bus.respond('local.kv-written', async ({ namespace, keys }: Requests['local.kv-written'][0]) => {
    await coherence.written(namespace, keys);
    return {};
  });
  return {
    room({ isolate, own, accountId, bindings }: Attach, budget) {
      const allowed = kvNamespaces(bindings);
      if (allowed.length === 0) return null;
      coherence.attach(isolate, allowed, join(own, KV_WRITTEN_SOCKET));
      const server = createKvService({
        store,
        namespaces,
        accountId,
        allowed,
        take: () => budget.take(),
        onRead: (namespace, key) => coherence.reads(isolate, namespace, key),
        written: (namespace, keys) => coherence.written(namespace, keys),
      });
      return { socket: 'kv.sock', server, maxConnections: MAX_CONNECTIONS, close: () => coherence.detach(isolate) };
    },
    close() {
      stop();
      coherence.close();
    },
  };
}
