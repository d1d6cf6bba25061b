/** The HTTP server of the control API: requests to the app, WebSocket upgrades to who registered for their path. */
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import type { Settings } from '../model/settings.ts';
import type { CoreProducts } from '../products/state.ts';
import type { Blobs } from '../state/blobs.ts';
import type { Bus } from '../state/bus.ts';
import type { Ledger } from '../state/ledger.ts';
import type { ObjectFiles } from '../state/object-files.ts';
import type { Usage } from '../state/usage.ts';
import { createApi } from './api.ts';
import type { CoreContext, Sealer, UpgradeHandler } from './context.ts';

export interface CoreParts extends CoreProducts {
  settings: Settings;
  ledger: Ledger;
  blobs: Blobs;
  objectFiles: ObjectFiles;
  vault: Sealer;
  bus: Bus;
  usage: Pick<Usage, 'read'>;
}

export interface CoreServer {
  /** Where it listens; `settings.apiPort` 0 lets the system choose. */
  port: number;
  /** Takes no new connection, ends tail sessions and rollouts' clocks, and resolves when the open requests are answered. */
  close(): Promise<void>;
}

/** Listens on `settings.apiListen`:`settings.apiPort`. Rejects when it cannot (EADDRINUSE ...). */
export async function startCore({ usage, ...parts }: CoreParts): Promise<CoreServer> {
  const handlers: { prefix: string; handler: UpgradeHandler }[] = [];
  const context: CoreContext = {
    ...parts,
    onUpgrade: (prefix, handler) => handlers.push({ prefix, handler }),
  };
  const { app, close } = await createApi(context, usage);
  const { settings } = parts;
  const server = await new Promise<Server>((resolve, reject) => {
    const started = serve({ fetch: app.fetch, hostname: settings.apiListen, port: settings.apiPort }, () => {
      started.off('error', reject);
      resolve(started as Server);
    });
    started.once('error', reject);
  });
  server.on('upgrade', (request, socket, head) => {
    const found = handlers.find(({ prefix }) => request.url?.startsWith(prefix));
    if (found) found.handler(request, socket, head);
    else socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
  });
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      await close();
      server.closeIdleConnections();
      await closed;
    },
  };
}
