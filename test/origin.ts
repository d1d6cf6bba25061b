/** An origin for tests: a real HTTP server on a free port of the loopback, which Workers reach with `--allow-egress 127.0.0.0/8`. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export const ALLOW_LOOPBACK = ['--allow-egress', '127.0.0.0/8'];

export interface Origin {
  url: string;
  /** Paths in the order in which they were asked for. */
  asked: string[];
  /** Breaks off all connections, as a data centre that is gone; `false` brings it back. */
  down(gone: boolean): void;
  close(): Promise<void>;
}

export async function startOrigin(
  handler: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<Origin> {
  const asked: string[] = [];
  let gone = false;
  const server = createServer((request, response) => {
    if (gone) return void request.socket.destroy();
    asked.push(request.url ?? '');
    handler(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    down(now) {
      gone = now;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
