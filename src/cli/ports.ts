/** Ports before anything is started: free, busy, or to be chosen. */
import { createServer } from 'node:net';

/** Binds and lets go. Resolves with the port (chosen by the system for 0); rejects with the system's error. */
function tryPort(host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host, port, exclusive: true }, () => {
      const { port: bound } = server.address() as { port: number };
      server.close(() => resolve(bound));
    });
  });
}

export function portFree(host: string, port: number): Promise<boolean> {
  return tryPort(host, port).then(
    () => true,
    () => false,
  );
}

/** The port to use. Throws one clear sentence that names the option. */
export async function reservePort(host: string, port: number, option: string): Promise<number> {
  try {
    return await tryPort(host, port);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE') throw new Error(`port ${port} is in use by another program: stop it, or choose another port by ${option}`);
    if (code === 'EACCES') throw new Error(`port ${port} needs privileges that this user does not have: choose one above 1023 by ${option}`);
    if (code === 'EADDRNOTAVAIL') throw new Error(`the address ${host} is not one of this machine's: give another by --listen`);
    throw error;
  }
}
