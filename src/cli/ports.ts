/** Ports before anything is started: free, busy, or to be chosen. */
import { createServer, type Server } from 'node:net';

/** Listens on a port; rejects with the system's error. */
function hold(host: string, port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', reject);
    server.listen({ host, port, exclusive: true }, () => resolve(server));
  });
}

function release(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

export async function portFree(host: string, port: number): Promise<boolean> {
  try {
    await release(await hold(host, port));
    return true;
  } catch {
    // Whatever the system says, it cannot be used.
    return false;
  }
}

/** Option -> port that is free now, different ones; 0 lets the system choose. Throws one clear sentence that names the option. */
export async function choosePorts<Option extends string>(
  host: string,
  wanted: Record<Option, number>,
): Promise<Record<Option, number>> {
  const chosen: Record<string, number> = {};
  const held: Server[] = [];
  try {
    for (const [option, port] of Object.entries<number>(wanted)) {
      const twin = Object.keys(chosen).find((other) => chosen[other] === port);
      if (twin) throw new Error(`port ${port} is given to both ${twin} and ${option}: choose different ones`);
      const server = await hold(host, port).catch((error: NodeJS.ErrnoException) => {
        throw explained(error, host, port, option);
      });
      held.push(server);
      chosen[option] = (server.address() as { port: number }).port;
    }
  } finally {
    for (const server of held) await release(server);
  }
  return chosen as Record<Option, number>;
}

function explained(error: NodeJS.ErrnoException, host: string, port: number, option: string): Error {
  switch (error.code) {
    case 'EADDRINUSE':
      return new Error(`port ${port} is in use by another program: stop it, or choose another port by ${option}`);
    case 'EACCES':
      return new Error(
        `port ${port} needs privileges that this user does not have: choose one above 1023 by ${option}`,
      );
    case 'EADDRNOTAVAIL':
      return new Error(`the address ${host} is not one of this machine's: give another by --listen`);
    default:
      return error;
  }
}
