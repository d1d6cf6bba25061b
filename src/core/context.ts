/** What every part of the control API is given: the state, the settings, and the way to take a WebSocket upgrade. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Settings } from '../model/settings.ts';
import type { CoreProducts } from '../products/state.ts';
import type { Blobs } from '../state/blobs.ts';
import type { Bus } from '../state/bus.ts';
import type { Ledger } from '../state/ledger.ts';
import type { ObjectFiles } from '../state/object-files.ts';

/** Seals secrets (AES-256-GCM); made by `openVault` in state/vault.ts. */
export interface Sealer {
  seal(text: string): string;
  unseal(sealed: string): string;
}

/** Takes over the connection: must answer or destroy `socket`. */
export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

export interface CoreContext extends CoreProducts {
  settings: Settings;
  ledger: Ledger;
  blobs: Blobs;
  objectFiles: ObjectFiles;
  vault: Sealer;
  bus: Bus;
  /** Registers a handler of HTTP upgrades whose path begins with `prefix` ("/client/v4" is not removed). */
  onUpgrade(prefix: string, handler: UpgradeHandler): void;
}
