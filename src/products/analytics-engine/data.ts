/** Analytics Engine in the data process: the socket of each process that binds a dataset. */
import type { DataProduct } from '../product.ts';
import { ANALYTICS_SOCKET, boundDatasets } from './binding.ts';
import type { Analytics } from './open.ts';
import { createAnalyticsService } from './service.ts';

const MAX_CONNECTIONS = 256;

export function analyticsData(analytics: Pick<Analytics, 'add'>): DataProduct {
  return {
    room({ accountId, bindings }) {
      const allowed = boundDatasets(bindings);
      if (allowed.length === 0) return null;
      const server = createAnalyticsService({ allowed, add: (points) => analytics.add(accountId, points) });
      return { socket: ANALYTICS_SOCKET, server, maxConnections: MAX_CONNECTIONS };
    },
    close() {},
  };
}
