/** The whole control API: every endpoint in one list. */
import type { Usage } from '../state/usage.ts';
import { type App, createApp } from './app.ts';
import { registerAssetsUpload } from './assets-upload.ts';
import type { CoreContext } from './context.ts';
import { registerAbsent } from './endpoints/absent.ts';
import { registerDomains } from './endpoints/domains.ts';
import { registerOrigins } from './endpoints/origins.ts';
import { registerRoutes } from './endpoints/routes.ts';
import { registerScripts } from './endpoints/scripts.ts';
import { registerSecrets } from './endpoints/secrets.ts';
import { registerSelvedge } from './endpoints/selvedge.ts';
import { registerServices } from './endpoints/services.ts';
import { registerTriggers } from './endpoints/triggers.ts';
import { registerUser } from './endpoints/user.ts';
import { registerVersions } from './endpoints/versions.ts';
import { registerZones } from './endpoints/zones.ts';
import { registerTails } from './tails.ts';

/** Makes the app. `close` ends the tail sessions. */
export function createApi(context: CoreContext, usage: Pick<Usage, 'read'>): { app: App; close(): void } {
  const app = createApp();
  registerUser(app, context);
  registerZones(app, context);
  registerOrigins(app, context);
  registerRoutes(app, context);
  registerDomains(app, context);
  registerScripts(app, context);
  registerVersions(app, context);
  registerSecrets(app, context);
  registerTriggers(app, context);
  registerServices(app, context);
  registerAssetsUpload(app, context);
  registerSelvedge(app, context, usage);
  const tails = registerTails(app, context);
  registerAbsent(app);
  return { app, close: () => tails.close() };
}
