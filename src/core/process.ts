/** Entry of the core process: the control API. Its parent is the supervisor; without it, it ends. */
import { layout } from '../model/layout.ts';
import { log, reason } from '../model/log.ts';
import { settingsFromEnv } from '../model/settings.ts';
import { closeProducts, openCoreProducts, startSweeping } from '../products/state.ts';
import { openFileBlobs } from '../state/file-blobs.ts';
import { connectBus } from '../state/local-bus.ts';
import { openObjectFiles } from '../state/object-files.ts';
import { openSqliteLedger } from '../state/sqlite-ledger.ts';
import { openUsage } from '../state/usage.ts';
import { openVault } from '../state/vault.ts';
import { startCore } from './server.ts';

const settings = settingsFromEnv();
const paths = layout(settings.dataDir);
const ledger = openSqliteLedger(paths.ledger);
const blobs = await openFileBlobs(paths.blobs);
const products = await openCoreProducts(settings.dataDir);
startSweeping(products);
const usage = openUsage(paths.usage);
const bus = connectBus();
// First of all: the supervisor may be stopped while this process still starts.
process.on('disconnect', () => process.exit(1));
const objectFiles = openObjectFiles(paths.objects);
const server = await startCore({
  settings,
  ledger,
  blobs,
  ...products,
  objectFiles,
  vault: openVault(paths.secretKey),
  bus,
  usage,
});

let stopping = false;
process.on('SIGTERM', () => {
  if (stopping) return;
  stopping = true;
  stop().catch((error: unknown) => {
    log('error', 'the core did not stop in order', { error: reason(error) });
    process.exit(1);
  });
});
// A terminal's Ctrl-C reaches the whole group: the supervisor decides when its children stop.
process.on('SIGINT', () => undefined);
bus.publish('local.ready', { name: 'core', pid: process.pid });

/** Answers the open requests, then closes what is durable. */
async function stop(): Promise<void> {
  await server.close();
  usage.close();
  await closeProducts(products);
  await ledger.close();
  await blobs.close();
  process.exit(0);
}
