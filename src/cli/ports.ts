/** The ports of the control API and of the S3 API before anything is started: free, busy, or to be chosen. */
import { createServer } from 'node:net';
import { parseListen } from '../config/listen.ts';
import type { Config } from '../config/schema.ts';
import type { Settings } from '../model/settings.ts';

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

/** Addresses and ports; 0 is replaced by a free one. Throws one clear sentence. */
export async function choosePorts({
  listen,
}: Config): Promise<Pick<Settings, 'apiListen' | 'apiPort' | 's3Listen' | 's3Port'>> {
  const [api, s3] = [await choose(listen.api, 'api'), await choose(listen.s3, 's3')];
  return { apiListen: api.host, apiPort: api.port, s3Listen: s3.host, s3Port: s3.port };
}

async function choose(text: string, option: string): Promise<{ host: string; port: number }> {
  const address = parseListen(text);
  if (address.kind !== 'tcp') throw new Error(`${text}: an address and a port are needed`);
  const { host, port } = address;
  return { host, port: await tryPort(host, port).catch((error) => fail(error, host, port, option)) };
}

function fail(error: NodeJS.ErrnoException, host: string, port: number, option: string): never {
  switch (error.code) {
    case 'EADDRINUSE':
      throw new Error(`port ${port} is in use by another program: stop it, or choose another port by --${option}`);
    case 'EACCES':
      throw new Error(
        `port ${port} needs privileges that this user does not have: choose one above 1023 by --${option}`,
      );
    case 'EADDRNOTAVAIL':
      throw new Error(`the address ${host} is not one of this machine's: give another by --${option}-listen`);
    default:
      throw error;
  }
}
