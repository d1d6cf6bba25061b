/**
 * Rollouts: a version gets more of the traffic step by step. The document (`keys.rollout`) says which step is live and when the next is due; each step is a
 * deployment like any other. Any deployment that is not the rollout's own ends it: a user's stops it, an automatic roll-back rolls it back.
 */
import { randomUUID } from 'node:crypto';
import type { Account, Deployment, Rollout, Script } from '../../model/documents.ts';
import { keys } from '../../model/keys.ts';
import { log, reason } from '../../model/log.ts';
import { checkDeployable } from '../../products/durable-objects/upload.ts';
import type { CoreContext } from '../context.ts';
import { lockOf } from '../endpoints/scripts.ts';
import { ApiError } from '../errors.ts';
import { serialized } from '../serialize.ts';
import { deploy, requireScript, requireVersion, Superseded, untilLive } from '../store.ts';
import { AUTO_ROLLBACK, ROLLBACK_OF, ROLLOUT_STEP } from './annotations.ts';

const TICK_MS = 500;

export interface NewRollout {
  versionId: string;
  steps: Rollout['steps'];
  autoRollback: boolean;
}

export interface Rollouts {
  /** Deploys the first step. Throws ApiError 10007, 10211, 10212, 10321. */
  start(account: Account, name: string, rollout: NewRollout): Promise<Rollout>;
  /** Leaves the shares as they are. Throws ApiError 10007, 10322. */
  stop(account: Account, name: string): Promise<Rollout>;
  /** The newest rollout of the Worker. Throws ApiError 10007, 10322. */
  get(account: Account, name: string): Promise<Rollout>;
  /** Ends when what it does now is done. */
  close(): Promise<void>;
}

export async function startRollouts(context: CoreContext): Promise<Rollouts> {
  const { ledger } = context;
  /** Keys of those that run. */
  const active = new Set<string>();
  /** Keys whose step is being made. */
  const busy = new Map<string, Promise<void>>();

  for (const { key, value } of await ledger.list<Rollout>(keys.rollouts)) {
    if (value.state !== 'running') continue;
    active.add(key);
    // What was counted before the core stopped is lost, so the step lasts its whole time from now on.
    await ledger.put(key, { ...value, nextOn: dueOn(value.steps[value.step]!) });
  }

  const timer = setInterval(() => {
    for (const key of active) {
      if (busy.has(key)) continue;
      const [, accountId, name] = key.split('/') as [string, string, string];
      const work = serialized(lockOf(accountId, name), () => advance(key))
        .catch((error: unknown) => {
          log('error', 'a rollout could not go on', { account: accountId, script: name, error: reason(error) });
        })
        .finally(() => busy.delete(key));
      busy.set(key, work);
    }
  }, TICK_MS).unref();

  async function save(rollout: Rollout): Promise<Rollout> {
    const key = keys.rollout(rollout.accountId, rollout.script);
    const saved = { ...rollout, modifiedOn: new Date().toISOString() };
    await ledger.put(key, saved);
    if (saved.state === 'running') active.add(key);
    else active.delete(key);
    return saved;
  }

  /** Looks at the active deployment, then at the clock. With the Worker's lock held. */
  async function advance(key: string): Promise<void> {
    const rollout = (await ledger.get<Rollout>(key))?.value;
    const script = rollout && (await ledger.get<Script>(keys.script(rollout.accountId, rollout.script)))?.value;
    if (rollout?.state !== 'running' || !script?.deployment) {
      // Stopped, or deleted with its Worker.
      active.delete(key);
      return;
    }
    const { deployment } = script;
    if (deployment.id !== rollout.deploymentId) {
      await save(afterDeployment(rollout, deployment));
      return;
    }
    if (rollout.nextOn === null || Date.parse(rollout.nextOn) > Date.now()) return;
    if (rollout.step + 1 < rollout.steps.length) await deployStep(rollout, rollout.step + 1, deployment.id);
    else await save({ ...rollout, nextOn: null, state: 'finished' });
  }

  /** Makes a step live if `replaces` is still the active deployment; otherwise the next tick finds out what it is. */
  async function deployStep(rollout: Rollout, step: number, replaces: string): Promise<Rollout> {
    const { id, accountId, script, versionId, oldVersionId, steps, autoRollback } = rollout;
    const { percentage } = steps[step]!;
    const annotations = {
      'workers/triggered_by': 'promotion',
      'workers/message': `Rollout, step ${step + 1} of ${steps.length}: ${percentage}% to version ${versionId.slice(0, 8)}`,
      [ROLLOUT_STEP]: `${id}/${step}`,
      ...(!autoRollback && { [AUTO_ROLLBACK]: 'off' }),
    };
    const shares = [{ versionId, percentage }];
    if (percentage < 100) shares.unshift({ versionId: oldVersionId, percentage: 100 - percentage });
    try {
      const { deployment, revision } = await deploy(context, accountId, script, shares, annotations, replaces);
      const saved = await save(atStep(rollout, step, deployment.id));
      await untilLive(context, revision);
      return saved;
    } catch (error) {
      if (!(error instanceof Superseded)) throw error;
      return rollout;
    }
  }

  async function read(account: Account, name: string): Promise<Rollout> {
    const script = await requireScript(context, account, name);
    const found = (await ledger.get<Rollout>(keys.rollout(account.id, script.name)))?.value;
    if (!found) throw new ApiError(10322, `The Worker ${name} has no rollout.`);
    return found;
  }

  return {
    start: (account, name, { versionId, steps, autoRollback }) =>
      serialized(lockOf(account.id, name), async () => {
        const script = await requireScript(context, account, name);
        const last = await ledger.get<Rollout>(keys.rollout(account.id, name));
        if (last?.value.state === 'running') {
          throw new ApiError(10321, `A rollout of ${name} is running: stop it first.`);
        }
        checkSteps(steps);
        const version = await requireVersion(context, script, versionId);
        const { deployment, oldVersionId } = startingPoint(script, versionId);
        checkDeployable(script, [version, await requireVersion(context, script, oldVersionId)]);
        const now = new Date().toISOString();
        const rollout: Rollout = {
          id: randomUUID(),
          accountId: account.id,
          script: name,
          versionId,
          oldVersionId,
          steps,
          step: 0,
          deploymentId: deployment.id,
          nextOn: null,
          state: 'running',
          reason: null,
          autoRollback,
          createdOn: now,
          modifiedOn: now,
        };
        return deployStep(rollout, 0, deployment.id);
      }),
    stop: (account, name) =>
      serialized(lockOf(account.id, name), async () => {
        const rollout = await read(account, name);
        if (rollout.state !== 'running') return rollout;
        return save({ ...rollout, nextOn: null, state: 'stopped', reason: 'Stopped by request; the shares stay.' });
      }),
    get: read,
    async close() {
      clearInterval(timer);
      await Promise.all(busy.values());
    },
  };
}

/** The rollout when `step` is live as this deployment: all traffic is the end, there is nothing left to compare with. */
function atStep(rollout: Rollout, step: number, deploymentId: string): Rollout {
  const current = rollout.steps[step]!;
  const finished = current.percentage === 100;
  return {
    ...rollout,
    step,
    deploymentId,
    nextOn: finished ? null : dueOn(current),
    state: finished ? 'finished' : 'running',
  };
}

/** The rollout when another deployment than the last known one is active. */
function afterDeployment(rollout: Rollout, { id, annotations }: Deployment): Rollout {
  const [owner, step] = (annotations[ROLLOUT_STEP] ?? '').split('/');
  // The core was stopped between the deployment of a step and the note of it.
  if (owner === rollout.id && Number(step) > rollout.step) return atStep(rollout, Number(step), id);
  const rolledBack = annotations[ROLLBACK_OF] === rollout.deploymentId;
  return {
    ...rollout,
    nextOn: null,
    state: rolledBack ? 'rolled-back' : 'stopped',
    reason: rolledBack ? (annotations['workers/message'] ?? null) : `Another deployment was made: ${id}.`,
  };
}

function dueOn({ minutes }: Rollout['steps'][number]): string {
  return new Date(Date.now() + minutes * 60_000).toISOString();
}

function checkSteps(steps: Rollout['steps']): void {
  const rising = steps.every(({ percentage }, i) => i === 0 || percentage > steps[i - 1]!.percentage);
  if (!rising) throw new ApiError(10211, 'The percentages of a rollout must rise from step to step.');
}

/** The active deployment, and the version that gives its traffic away. */
function startingPoint(script: Script, versionId: string): { deployment: Deployment; oldVersionId: string } {
  const { deployment } = script;
  const live = (deployment?.versions ?? []).filter(({ percentage }) => percentage > 0);
  const others = live.filter((share) => share.versionId !== versionId);
  if (!deployment || live.length === 0) {
    throw new ApiError(10211, `The Worker ${script.name} is not deployed: deploy a version first.`);
  }
  if (others.length === 0) throw new ApiError(10211, `The version ${versionId} has all traffic already.`);
  if (others.length > 1) {
    throw new ApiError(10211, 'Two other versions share the traffic: deploy one of them alone first.');
  }
  return { deployment, oldVersionId: others[0]!.versionId };
}
