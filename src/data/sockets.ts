/** Listening unix sockets of one isolate process: opened for another uid, bounded, and closed with all their connections. */
import { chmod, unlink } from 'node:fs/promises';
import type { Server, Socket } from 'node:net';
import { log, reason } from '../model/log.ts';

export interface OpenSocket {
  /** Stops listening, cuts every connection and removes the file. */
  close(): Promise<void>;
}

/** Unix socket paths longer than this cannot be bound (sun_path, unix(7)). */
const MAX_PATH_BYTES = 107;

/**
 * Lets `server` listen at `path`, usable by every uid (the directory decides who sees it). At most `maxConnections` at once;
 * more are closed at once. Throws if the path cannot be bound.
 */
export async function openSocket(server: Server, path: string, maxConnections: number): Promise<OpenSocket> {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) throw new Error(`socket path is longer than 107 bytes: ${path}`);
  // A file that an earlier process left would make bind() fail.
  await unlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
  const connections = new Set<Socket>();
  server.maxConnections = maxConnections;
  server.on('connection', (socket) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
  server.on('error', (error) => log('error', 'a socket failed', { path, error: reason(error) }));
  await chmod(path, 0o666);
  return {
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of connections) socket.destroy();
      await closed;
    },
  };
}
