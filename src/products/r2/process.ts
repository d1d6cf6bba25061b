/** Entry of the process that serves R2 outside of Workers: the S3 API. Its parent is the supervisor; without it, it ends. */
import { rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import type { ListenOptions } from 'node:net';
import { connectSource, createConnectors } from '../../data/connectors.ts';
import { layout } from '../../model/layout.ts';
import { log, reason } from '../../model/log.ts';
import { S3_LABEL } from '../../model/route.ts';
import { settingsFromEnv } from '../../model/settings.ts';
import { storageSockets } from '../../model/storage-sockets.ts';
import { connectBus } from '../../state/local-bus.ts';
import { openSqliteLedger } from '../../state/sqlite-ledger.ts';
import { openVault } from '../../state/vault.ts';
import { JobRunner } from './job-runner.ts';
import { openR2 } from './open.ts';
import { createPublicServer } from './public.ts';
import { followCredentials } from './s3/credentials.ts';
import { createS3Server } from './s3/server.ts';
import { Slurp } from './slurp.ts';

const settings = settingsFromEnv();
const bus = connectBus();
// First of all: the supervisor may be stopped while this process still starts.
process.on('disconnect', () => process.exit(1));
const paths = layout(settings.dataDir);
const ledger = openSqliteLedger(paths.ledger);
const vault = openVault(paths.secretKey);
const r2 = await openR2(settings.dataDir);
const credentials = await followCredentials(ledger);
const source = { connect: connectSource(createConnectors({ settings })), unseal: vault.unseal };
const slurp = new Slurp(r2, source);
const s3 = { r2, slurp, credentials };
const sockets = storageSockets(settings.runDir);
// What a process that was killed left behind.
for (const path of Object.values(sockets)) await rm(path, { force: true });
const servers: [Server, ListenOptions][] = [
  [createS3Server({ ...s3, hosts: ['localhost'] }), { host: settings.s3Listen, port: settings.s3Port }],
  [createS3Server({ ...s3, hosts: [`${S3_LABEL}.${settings.workersDomain}`] }), { path: sockets.s3 }],
  [createPublicServer({ r2, slurp }), { path: sockets.public }],
];
for (const [server, where] of servers) {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => resolve());
  });
}
const runner = new JobRunner(r2, slurp);
await runner.start();
bus.publish('local.ready', { name: process.env.SELVEDGE_PROCESS ?? 'r2', pid: process.pid });

/** Answers the open requests, then closes what is durable. */
let stopping = false;
async function stop(): Promise<void> {
  if (stopping) return;
  stopping = true;
  await Promise.all(
    servers.map(([server]) => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeIdleConnections();
      return closed;
    }),
  );
  credentials.close();
  await Promise.all([runner.close(), slurp.close()]);
  await r2.close();
  await ledger.close();
  process.exit(0);
}
process.on('SIGTERM', () => {
  stop().catch((error: unknown) => {
    log('error', 'the S3 API did not stop in order', { error: reason(error) });
    process.exit(1);
  });
});
// Ctrl-C goes to the whole group: the supervisor decides.
process.on('SIGINT', () => undefined);
