/** The control API's port before anything is started: free, busy, or to be chosen. */
import { createServer } from 'node:net';
import { parseListen } from '../config/listen.ts';
import type { Config } from '../config/schema.ts';

/** Resolves with the port that was listened on for a moment; rejects with the system's error. */
function tryPort(host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', reject);
    server.listen({ host, port, exclusive: true }, () => {
      const { port: bound } = server.address() as { port: number };
      server.close(() => resolve(bound));
    });
  });
}

export async function portFree(host: string, port: number): Promise<boolean> {
  try {
    await tryPort(host, port);
    return true;
  } catch {
    // Whatever the system says, it cannot be used.
    return false;
  }
}

/** Address and port of the control API; 0 is replaced by a free one. Throws one clear sentence. */
export async function chooseApiPort({ listen }: Config): Promise<{ apiListen: string; apiPort: number }> {
  const address = parseListen(listen.api);
  if (address.kind !== 'tcp') throw new Error('the control API needs an address and a port');
  const { host, port } = address;
  return { apiListen: host, apiPort: await tryPort(host, port).catch((error) => fail(error, host, port)) };
}

function fail(error: NodeJS.ErrnoException, host: string, port: number): never {
  switch (error.code) {
    case 'EADDRINUSE':
      throw new Error(`port ${port} is in use by another program: stop it, or choose another port by --api`);
    case 'EACCES':
      throw new Error(`port ${port} needs privileges that this user does not have: choose one above 1023 by --api`);
    case 'EADDRNOTAVAIL':
      throw new Error(`the address ${host} is not one of this machine's: give another by --api-listen`);
    default:
      throw error;
  }
}
