/** The state of Queues as each process that serves it opens it, and what keeps it small. */
import { layout } from '../../model/layout.ts';
import { log, reason } from '../../model/log.ts';
import { openThreadedMessages } from '../../state/threaded-messages.ts';
import { type QueueDocument, Queues } from './queues.ts';

const EXPIRE_MS = 60_000;

export interface OpenQueues extends Queues {
  /** Removes messages that are older than their queue keeps them, each minute, and what is left of removed queues. One process does that. */
  startExpiring(): void;
  close(): Promise<void>;
}

/** Opens or creates the state in the data directory. Throws DamagedState. */
export async function openQueues(dataDir: string): Promise<OpenQueues> {
  const messages = await openThreadedMessages<QueueDocument>(layout(dataDir).queues);
  const queues = new Queues(messages);
  let timer: NodeJS.Timeout | undefined;
  let expiring = Promise.resolve();
  let closing = false;

  async function expire(): Promise<void> {
    try {
      await messages.finishRemovals();
      for (const queue of messages.queues()) {
        if (closing) return;
        const gone = await messages.expire(queue.key, queues.keepFrom(queue, Date.now()));
        if (gone > 0)
          log('warn', 'messages were in their queue for too long and are gone', { queue: queue.name, gone });
      }
    } catch (error) {
      log('warn', 'old messages were not removed', { error: reason(error) });
    }
  }

  return Object.assign(queues, {
    startExpiring() {
      expiring = expire();
      timer = setInterval(() => {
        expiring = expiring.then(expire);
      }, EXPIRE_MS).unref();
    },
    async close() {
      closing = true;
      clearInterval(timer);
      await expiring;
      await messages.close();
    },
  });
}
