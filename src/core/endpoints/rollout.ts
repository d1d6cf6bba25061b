/** Rollouts in steps, with what was counted of the two versions. Cloudflare's API has no path for them. */
import { z } from '@hono/zod-openapi';
import type { Observed } from '../../model/compare-versions.ts';
import type { Rollout } from '../../model/documents.ts';
import { quantile } from '../../model/histogram.ts';
import { type App, define } from '../app.ts';
import type { CoreContext } from '../context.ts';
import type { Rollouts } from '../rollout/steps.ts';
import type { Watch } from '../rollout/watch.ts';
import { requireScript } from '../store.ts';
import { SCRIPT } from './scripts.ts';

const MAX_STEPS = 100;
const MAX_STEP_MINUTES = 30 * 24 * 60;

export function registerRollout(app: App, context: CoreContext, rollouts: Rollouts, watch: Watch): void {
  const path = `${SCRIPT}/selvedge/rollout`;
  const NewRollout = z.object({
    version_id: z.string().max(64),
    steps: z
      .array(
        z.object({
          percentage: z.number().gt(0).max(100),
          minutes: z
            .number()
            .min(1 / 60)
            .max(MAX_STEP_MINUTES),
        }),
      )
      .min(1)
      .max(MAX_STEPS),
    auto_rollback: z.boolean().default(true),
  });
  define(
    app,
    context,
    {
      method: 'post',
      path,
      summary: 'Gives a version more of the traffic step by step, and takes it back if the version is worse',
      body: NewRollout,
    },
    async ({ account, params, body: { version_id: versionId, steps, auto_rollback: autoRollback } }) =>
      shape(await rollouts.start(account, params.script_name!, { versionId, steps, autoRollback })),
  );
  define(
    app,
    context,
    { method: 'get', path, summary: 'The newest rollout, and what was counted of both versions of the deployment' },
    async ({ account, params }) => {
      const rollout = await rollouts.get(account, params.script_name!);
      const watched = watch.comparison(await requireScript(context, account, params.script_name!));
      const compared = watched && {
        old: { version_id: watched.roles.old, ...observedShape(watched.comparison.old) },
        new: { version_id: watched.roles.new, ...observedShape(watched.comparison.new) },
        looks: watched.comparison.looks,
      };
      return { ...shape(rollout), comparison: compared };
    },
  );
  define(
    app,
    context,
    { method: 'delete', path, summary: 'Stops the rollout; the versions keep the shares that they have' },
    async ({ account, params }) => shape(await rollouts.stop(account, params.script_name!)),
  );
}

function shape(rollout: Rollout) {
  return {
    id: rollout.id,
    version_id: rollout.versionId,
    old_version_id: rollout.oldVersionId,
    steps: rollout.steps,
    step: rollout.step,
    deployment_id: rollout.deploymentId,
    next_on: rollout.nextOn,
    state: rollout.state,
    reason: rollout.reason,
    auto_rollback: rollout.autoRollback,
    created_on: rollout.createdOn,
    modified_on: rollout.modifiedOn,
  };
}

/** `p95_ms` is null for times above the last bucket. */
function observedShape({ requests, errors, latency }: Observed) {
  const p95 = quantile(latency, 0.95);
  return { requests, errors, p95_ms: Number.isFinite(p95) ? p95 : null };
}
