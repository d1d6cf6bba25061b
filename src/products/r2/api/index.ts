/** All of R2's part of the v4 API. */
import type { App } from '../../../core/app.ts';
import type { CoreContext } from '../../../core/context.ts';
import { registerR2Buckets } from './buckets.ts';
import { registerR2Domains } from './domains.ts';
import { registerR2Usage } from './figures.ts';
import { registerR2Jobs } from './jobs.ts';
import { registerR2Settings } from './settings.ts';

export function registerR2(app: App, context: CoreContext): void {
  registerR2Buckets(app, context);
  registerR2Settings(app, context);
  registerR2Domains(app, context);
  registerR2Usage(app, context);
  registerR2Jobs(app, context);
}
