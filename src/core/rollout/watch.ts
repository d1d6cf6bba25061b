/**
 * Watches the versions that share a Worker's traffic and takes the traffic back from a new one that is worse (the rule:
 * `model/compare-versions.ts`). What the PoPs report (`pop.traffic`) is added up here and looked at each second. Counts live in memory: they begin anew
 * with each deployment and with each start of the core.
 */
import {
  Comparison,
  DEFAULT_RULE,
  describeFinding,
  emptyObserved,
  type Finding,
  type Observed,
} from '../../model/compare-versions.ts';
import type { Deployment, Script } from '../../model/documents.ts';
import { keys } from '../../model/keys.ts';
import { log, reason } from '../../model/log.ts';
import type { Publications } from '../../model/messages.ts';
import type { CoreContext } from '../context.ts';
import { lockOf } from '../endpoints/scripts.ts';
import { serialized } from '../serialize.ts';
import { deploy, Superseded, untilLive } from '../store.ts';
import { AUTO_ROLLBACK, ROLLBACK_OF } from './annotations.ts';
import { type Roles, rolesOf, splitOf } from './roles.ts';

const TICK_MS = 1000;
/** How often it is asked whether Workers without traffic still share it among two versions. */
const SWEEP_MS = 60_000;

interface Watched {
  deploymentId: string;
  roles: Roles;
  comparison: Comparison;
}

export interface Watch {
  /** What was counted for the active deployment; null if no traffic is shared, or none came yet. */
  comparison(script: Script): { roles: Roles; comparison: Comparison } | null;
  /** Ends when what it does now is done. */
  close(): Promise<void>;
}

export function watchVersions(context: CoreContext): Watch {
  const rule = context.settings.rollout ?? DEFAULT_RULE;
  /** Script key -> its comparison. */
  const watched = new Map<string, Watched>();
  /** Script key -> version id -> what was reported since the last tick. */
  let reported = new Map<string, Map<string, Observed>>();
  let lastSweep = Date.now();
  let work: Promise<void> | null = null;

  const unsubscribe = context.bus.subscribe('pop.traffic', ({ versions }: Publications['pop.traffic']) => {
    for (const { accountId, script, versionId, ...traffic } of versions) {
      const key = keys.script(accountId, script);
      const ofScript = reported.get(key) ?? new Map<string, Observed>();
      reported.set(key, ofScript.set(versionId, sum(ofScript.get(versionId), traffic)));
    }
  });

  async function tick(): Promise<void> {
    const batch = reported;
    reported = new Map();
    if (Date.now() - lastSweep >= SWEEP_MS) {
      lastSweep = Date.now();
      for (const key of watched.keys()) if (!batch.has(key)) batch.set(key, new Map());
    }
    for (const [key, traffic] of batch) {
      try {
        await observe(key, traffic);
      } catch (error) {
        log('error', 'the versions of a Worker could not be compared', { script: key, error: reason(error) });
      }
    }
  }
  const timer = setInterval(() => {
    work ??= tick().finally(() => {
      work = null;
    });
  }, TICK_MS).unref();

  async function observe(key: string, traffic: Map<string, Observed>): Promise<void> {
    const script = (await context.ledger.get<Script>(key))?.value;
    if (!script?.deployment || !splitOf(script.deployment)) {
      watched.delete(key);
      return;
    }
    const before = watched.get(key);
    if (before?.deploymentId !== script.deployment.id) {
      const begun = await begin(script, script.deployment, before);
      // What was reported in this second is partly from before this deployment: it is not counted.
      if (begun) watched.set(key, begun);
      return;
    }
    const { roles, comparison } = before;
    for (const which of ['old', 'new'] as const) comparison.add(which, traffic.get(roles[which]) ?? emptyObserved());
    if (!rule.auto_rollback || script.deployment.annotations[AUTO_ROLLBACK] === 'off') return;
    const found = comparison.look(Date.now());
    if (found) await rollBack(script, script.deployment, roles, found);
  }

  async function begin(script: Script, deployment: Deployment, before: Watched | undefined): Promise<Watched | null> {
    const roles = await rolesOf(context, script);
    if (!roles) return null;
    const samePair = before?.roles.old === roles.old && before.roles.new === roles.new;
    const comparison = samePair ? before.comparison : new Comparison(rule, Date.now());
    comparison.begin(Date.now());
    return { deploymentId: deployment.id, roles, comparison };
  }

  async function rollBack(script: Script, deployment: Deployment, roles: Roles, found: Finding): Promise<void> {
    const { accountId, name } = script;
    const message = describeFinding(found, roles);
    const annotations = {
      'workers/triggered_by': 'rollback',
      'workers/message': message,
      [ROLLBACK_OF]: deployment.id,
    };
    const shares = [{ versionId: roles.old, percentage: 100 }];
    try {
      const { revision } = await serialized(lockOf(accountId, name), () =>
        deploy(context, accountId, name, shares, annotations, deployment.id),
      );
      watched.delete(keys.script(accountId, name));
      log('warn', 'a version was rolled back', { account: accountId, script: name, why: message });
      // Nobody waits for it; a PoP that is slow is logged.
      void untilLive(context, revision);
    } catch (error) {
      // Somebody deployed in this moment: theirs stays.
      if (!(error instanceof Superseded)) throw error;
    }
  }

  return {
    comparison({ accountId, name, deployment }) {
      const found = watched.get(keys.script(accountId, name));
      return found && found.deploymentId === deployment?.id ? found : null;
    },
    async close() {
      clearInterval(timer);
      unsubscribe();
      await work;
    },
  };
}

function sum(before: Observed | undefined, { requests, errors, latency }: Observed): Observed {
  if (!before) return { requests, errors, latency: [...latency] };
  return {
    requests: before.requests + requests,
    errors: before.errors + errors,
    latency: before.latency.map((count, i) => count + (latency[i] ?? 0)),
  };
}
