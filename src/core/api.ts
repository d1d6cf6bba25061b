/** The whole control API: every endpoint in one list. */
import { registerAnalytics } from '../products/analytics-engine/api.ts';
import { registerD1 } from '../products/d1/api.ts';
import { d1Figures } from '../products/d1/figures.ts';
import { registerObjects } from '../products/durable-objects/api.ts';
import { registerKv } from '../products/kv/api.ts';
import { registerQueues } from '../products/queues/api.ts';
import { registerQueueMessages } from '../products/queues/messages-api.ts';
import { r2Figures } from '../products/r2/api/figures.ts';
import { registerR2 } from '../products/r2/api/index.ts';
import type { Usage } from '../state/usage.ts';
import { type App, createApp } from './app.ts';
import { registerAssetsUpload } from './assets-upload.ts';
import type { CoreContext } from './context.ts';
import { registerAbsent } from './endpoints/absent.ts';
import { registerDomains } from './endpoints/domains.ts';
import { registerGraphql } from './endpoints/graphql.ts';
import { registerOrigins } from './endpoints/origins.ts';
import { registerRollout } from './endpoints/rollout.ts';
import { registerRoutes } from './endpoints/routes.ts';
import { registerScripts } from './endpoints/scripts.ts';
import { registerSecrets } from './endpoints/secrets.ts';
import { registerSelvedge } from './endpoints/selvedge.ts';
import { registerServices } from './endpoints/services.ts';
import { registerTriggers } from './endpoints/triggers.ts';
import { registerUsage } from './endpoints/usage.ts';
import { registerUser } from './endpoints/user.ts';
import { registerVersions } from './endpoints/versions.ts';
import { registerZones } from './endpoints/zones.ts';
import { registerOperator } from './operator.ts';
import { startRollouts } from './rollout/steps.ts';
import { watchVersions } from './rollout/watch.ts';
import { registerTails } from './tails.ts';

/** Makes the app, and starts what runs beside it: rollouts and the watch over shared traffic. `close` ends that, and the tail sessions. */
export async function createApi(
  context: CoreContext,
  usage: Pick<Usage, 'read'>,
): Promise<{ app: App; close(): Promise<void> }> {
  const app = createApp();
  registerOperator(app, context);
  const rollouts = await startRollouts(context);
  const watch = watchVersions(context);
  registerUser(app, context);
  registerZones(app, context);
  registerOrigins(app, context);
  registerRoutes(app, context);
  registerDomains(app, context);
  registerScripts(app, context);
  registerVersions(app, context);
  registerRollout(app, context, rollouts, watch);
  registerSecrets(app, context);
  registerTriggers(app, context);
  registerServices(app, context);
  registerAssetsUpload(app, context);
  registerKv(app, context);
  registerQueues(app, context);
  registerQueueMessages(app, context);
  registerR2(app, context);
  registerGraphql(app, context, { ...r2Figures(context), ...d1Figures(context.bus) });
  registerObjects(app, context);
  registerAnalytics(app, context);
  const d1 = registerD1(app, context);
  registerSelvedge(app, context);
  registerUsage(app, context, usage);
  const tails = registerTails(app, context);
  registerAbsent(app);
  return {
    app,
    async close() {
      tails.close();
      d1.close();
      await Promise.all([rollouts.close(), watch.close()]);
    },
  };
}
