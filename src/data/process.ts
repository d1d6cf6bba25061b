/** Entry of the data process: opens what stands behind the sockets of isolate processes, and closes it on SIGTERM. */
import { layout } from '../model/layout.ts';
import { log, reason } from '../model/log.ts';
import { settingsFromEnv } from '../model/settings.ts';
import { closeProducts, openDataProducts } from '../products/state.ts';
import { openFileBlobs } from '../state/file-blobs.ts';
import { connectBus } from '../state/local-bus.ts';
import { openVault } from '../state/vault.ts';
import { createAssetBinding } from './assets.ts';
import { startDataService } from './service.ts';

const settings = settingsFromEnv();
const bus = connectBus();
// First of all: the supervisor may be stopped while this process still starts.
process.on('disconnect', () => process.exit(1));
const name = process.env.SELVEDGE_PROCESS ?? 'data';
const blobs = await openFileBlobs(layout(settings.dataDir).blobs);
// What is not on is not imported: the tracing SDK alone costs 25 MB.
const tracing = settings.traces ? (await import('./tracing.ts')).createTracing(settings.traces, settings.colo) : null;
const products = await openDataProducts(settings.dataDir, settings.cache);
const vault = openVault(layout(settings.dataDir).secretKey);
const service = await startDataService({
  bus,
  settings,
  products,
  vault,
  tracing,
  assetServer: createAssetBinding(blobs),
});
bus.publish('local.ready', { name, pid: process.pid });

/** The isolate processes are stopped before this one, so what is still open belongs to nobody. */
let draining = false;
async function drain(): Promise<void> {
  if (draining) return;
  draining = true;
  await service.close();
  await tracing?.close();
  await closeProducts(products);
  await blobs.close();
  process.exit(0);
}
process.on('SIGTERM', () => void drain());
// Ctrl-C goes to the whole group: the supervisor decides.
process.on('SIGINT', () => undefined);
process.on('uncaughtException', (error) => {
  log('error', 'the data process failed', { error: reason(error), stack: error.stack });
  process.exit(1);
});
