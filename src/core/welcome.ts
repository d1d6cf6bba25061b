/** Deploys the welcome Worker of a new installation straight into the ledger: nothing else runs yet at that moment. */
import { createHash, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Deployment, Script, Version } from '../model/documents.ts';
import { keys } from '../model/keys.ts';
import { DEFAULT_PLAN, type Plan } from '../model/limits.ts';
import type { Blobs } from '../state/blobs.ts';
import type { Ledger } from '../state/ledger.ts';
import { newId } from './accounts.ts';

const NAME = 'welcome';
const SOURCE = new URL('../system-workers/welcome.js', import.meta.url);

/** Writes the Worker `welcome` (version, then script with a deployment of 100%) unless the account has one already. */
export async function deployWelcome(
  ledger: Ledger,
  blobs: Blobs,
  accountId: string,
  plan: Plan = DEFAULT_PLAN,
): Promise<void> {
  if (await ledger.get(keys.script(accountId, NAME))) return;
  const source = await readFile(SOURCE);
  const { hash, sizeBytes } = await blobs.put(source);
  const now = new Date().toISOString();
  const version: Version = {
    id: randomUUID(),
    accountId,
    script: NAME,
    number: 1,
    createdOn: now,
    authorEmail: 'selvedge@localhost',
    source: 'api',
    annotations: { 'workers/triggered_by': 'upload', 'workers/message': 'The Worker that a new Selvedge starts with' },
    format: 'modules',
    mainModule: 'welcome.js',
    modules: [{ name: 'welcome.js', type: 'esm', hash, sizeBytes }],
    bindings: [],
    compatibilityDate: '2026-11-01',
    compatibilityFlags: [],
    limits: {
      cpuMs: plan.cpuMs.default,
      memoryMb: plan.memoryMb.default,
      subrequests: plan.subrequests.default,
    },
    placement: null,
    assets: null,
    etag: createHash('sha256').update(hash).digest('hex'),
    handlers: ['fetch'],
    entrypoints: [{ name: 'default', kind: 'object', handlers: ['fetch'] }],
    startupTimeMs: 1,
  };
  const deployment: Deployment = {
    id: randomUUID(),
    source: 'api',
    strategy: 'percentage',
    authorEmail: version.authorEmail,
    createdOn: now,
    annotations: { 'workers/triggered_by': 'upload' },
    versions: [{ versionId: version.id, percentage: 100 }],
  };
  const script: Script = {
    accountId,
    name: NAME,
    tag: newId(),
    createdOn: now,
    modifiedOn: now,
    tags: [],
    workersDev: true,
    previews: true,
    schedules: [],
    observability: null,
    logpush: false,
    tailConsumers: [],
    migrationTag: null,
    versionCount: 1,
    latestVersionId: version.id,
    aliases: {},
    deployment,
  };
  await ledger.put(keys.version(accountId, NAME, version.id), version, 0);
  await ledger.put(keys.script(accountId, NAME), script, 0);
  await ledger.put(keys.deployment(accountId, NAME, deployment.id), deployment, 0);
}
