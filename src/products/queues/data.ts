/** Queues in the data process: the socket of each process that has producers, and the broker that delivers. */
import type { Attach } from '../../model/messages.ts';
import type { Bus } from '../../state/bus.ts';
import type { DataProduct } from '../product.ts';
import { boundQueues, QUEUES_SOCKET } from './binding.ts';
import { Broker } from './broker.ts';
import type { Queues } from './queues.ts';
import { createQueueService } from './service.ts';

const MAX_CONNECTIONS = 512;
/** The name under which the supervisor knows this process. */
const NAME = 'data';

export function queuesData(bus: Bus, queues: Queues): DataProduct {
  const broker = new Broker(bus, queues, NAME);
  return {
    room({ accountId, bindings }: Attach, budget) {
      const allowed = boundQueues(bindings);
      if (allowed.length === 0) return null;
      const server = createQueueService({
        queues,
        accountId,
        allowed,
        take: () => budget.take(),
        sent: (queueId) => broker.notice(queueId),
      });
      return { socket: QUEUES_SOCKET, server, maxConnections: MAX_CONNECTIONS };
    },
    close: () => broker.close(),
  };
}
