/** R2 in the data process: the socket of each process that binds buckets. */
import type { DataProduct } from '../product.ts';
import { boundBuckets, R2_SOCKET } from './binding.ts';
import type { R2 } from './open.ts';
import { createR2Service } from './service.ts';
import { Slurp } from './slurp.ts';
import type { SourceOptions } from './source.ts';

const MAX_CONNECTIONS = 512;

export function r2Data(r2: R2, source: SourceOptions): DataProduct {
  const slurp = new Slurp(r2, source);
  return {
    room({ accountId, bindings }, budget) {
      const allowed = boundBuckets(bindings);
      if (allowed.length === 0) return null;
      const server = createR2Service({ r2, slurp, accountId, allowed, take: () => budget.take() });
      return { socket: R2_SOCKET, server, maxConnections: MAX_CONNECTIONS };
    },
    close: () => slurp.close(),
  };
}
