/** Entry of the process that serves R2 outside of Workers: the S3 API. Its parent is the supervisor; without it, it ends. */
import { connectSource, createConnectors } from '../../data/connectors.ts';
import { layout } from '../../model/layout.ts';
import { log, reason } from '../../model/log.ts';
import { settingsFromEnv } from '../../model/settings.ts';
import { connectBus } from '../../state/local-bus.ts';
import { openSqliteLedger } from '../../state/sqlite-ledger.ts';
import { openVault } from '../../state/vault.ts';
import { openR2 } from './open.ts';
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
const server = createS3Server({ r2, slurp, credentials, hosts: ['localhost'] });
await new Promise<void>((resolve, reject) => {
  server.once('error', reject);
  server.listen({ host: settings.s3Listen, port: settings.s3Port }, () => resolve());
});
bus.publish('local.ready', { name: process.env.SELVEDGE_PROCESS ?? 'r2', pid: process.pid });

/** Answers the open requests, then closes what is durable. */
let stopping = false;
async function stop(): Promise<void> {
  if (stopping) return;
  stopping = true;
  const closed = new Promise((resolve) => server.close(resolve));
  server.closeIdleConnections();
  await closed;
  credentials.close();
  await slurp.close();
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
