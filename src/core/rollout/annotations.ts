/** Annotations of deployments that safe deployment reads and writes; Cloudflare's own begin with "workers/". */

/** "off": this deployment is not rolled back automatically. */
export const AUTO_ROLLBACK = 'selvedge/auto_rollback';
/** On the deployment of an automatic roll-back: id of the one that it replaced. */
export const ROLLBACK_OF = 'selvedge/rollback_of';
/** On the deployment of a rollout's step: "<rollout id>/<index of the step>". */
export const ROLLOUT_STEP = 'selvedge/rollout';
