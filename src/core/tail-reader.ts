/**
 * The socket of one tail session: events go out as they come, and a reader that is too slow loses events instead of making this
 * process hold them. It is told so with Cloudflare's overload events, which wrangler prints.
 */
import type { WebSocket } from 'ws';
import type { TailEvent } from '../model/messages.ts';

/** Events that wait for a slow reader, in bytes. */
export const MAX_BUFFERED_BYTES = 1024 * 1024;
const CLOSE_GRACE_MS = 2_000;

/** The part of a WebSocket that a reader uses. */
export type ReaderSocket = Pick<WebSocket, 'send' | 'close' | 'terminate' | 'once' | 'bufferedAmount'>;

export interface Reader {
  send(event: TailEvent): void;
  /** Closes with a status code; 1000 tells wrangler that all is well. */
  close(code: number): void;
}

export function createReader(socket: ReaderSocket): Reader {
  let dropped = 0;

  function write(event: TailEvent): void {
    socket.send(JSON.stringify(event), (error) => {
      if (error) socket.terminate();
    });
  }

  return {
    send(event) {
      if (socket.bufferedAmount > MAX_BUFFERED_BYTES) {
        if (dropped++ === 0) {
          write(
            notice(
              'overload',
              'Tail is dropping events: they come faster than they are read. Consider adding filters.',
            ),
          );
        }
        return;
      }
      if (dropped > 0) {
        write(notice('overload-stop', `Tail no longer drops events; ${dropped} were dropped.`));
        dropped = 0;
      }
      write(event);
    },
    close(code) {
      socket.close(code);
      const timer = setTimeout(() => socket.terminate(), CLOSE_GRACE_MS).unref();
      socket.once('close', () => clearTimeout(timer));
    },
  };
}

function notice(type: 'overload' | 'overload-stop', message: string): TailEvent {
  return {
    outcome: 'unknown',
    scriptName: '',
    scriptVersion: { id: '' },
    diagnosticsChannelEvents: [],
    exceptions: [],
    logs: [],
    eventTimestamp: Date.now(),
    event: { type, message },
    truncated: false,
    executionModel: 'stateless',
  };
}
