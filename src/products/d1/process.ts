/**
 * The process of one D1 database: a Worker of Selvedge's own (`system-workers/d1.js`) with one Durable Object, whose SQLite file is the
 * database. A process for each database, as each has one thread at Cloudflare: a long statement keeps nobody else's waiting, and what the
 * watchdog ends is one database. It is no Worker of the user: no script names it, and no address leads to it.
 */
import { createHash } from 'node:crypto';
import type { Version } from '../../model/documents.ts';
import { list, literal, struct } from '../../pop/isolates/capnp.ts';
import { D1 } from './limits.ts';

const MODULES = ['d1.js', 'd1-dump.js', 'd1-statements.js'];
const CLASS = 'Database';
/** Name of the directory in a database's storage, which tells it from the storage of a Worker. */
export const D1_NAMESPACE = 'd1';

/** Directory of a database's files among those of Durable Objects. */
export function storageOf(id: string): string {
  return id.replaceAll('-', '');
}

export function versionIdOf(id: string): string {
  return `d1-${id}`;
}

/** The database as the fleet runs it. `source` gives the text of a system Worker. */
export async function databaseVersion(
  { accountId, id }: { accountId: string; id: string },
  source: (file: string) => Promise<string>,
): Promise<Version> {
  const texts = await Promise.all(MODULES.map(source));
  return {
    id: versionIdOf(id),
    system: 'd1',
    accountId,
    script: `d1/${id}`,
    number: 1,
    createdOn: '',
    authorEmail: '',
    source: 'selvedge',
    annotations: {},
    format: 'modules',
    mainModule: '',
    modules: [],
    bindings: [],
    compatibilityDate: '2026-11-01',
    compatibilityFlags: [],
    limits: { cpuMs: D1.queryCpuMs, memoryMb: D1.memoryMb, subrequests: 0 },
    placement: null,
    assets: null,
    objects: {
      storage: storageOf(id),
      namespaces: [{ id: D1_NAMESPACE, className: CLASS, sqlite: true }],
    },
    etag: createHash('sha256').update(texts.join('\0')).digest('hex'),
    handlers: [],
    entrypoints: [],
    startupTimeMs: 0,
  };
}

/** Its service in workerd's configuration, named `user` as the Worker of any other process. */
export async function databaseService(
  objects: Record<string, string>,
  source: (file: string) => Promise<string>,
): Promise<string> {
  const modules = await Promise.all(
    MODULES.map(async (name) => struct({ name: literal(name), esModule: literal(await source(name)) })),
  );
  const worker = struct({
    modules: list(modules),
    compatibilityDate: literal('2026-11-01'),
    // For `ingest` and the size of a database.
    compatibilityFlags: list([literal('experimental')]),
    globalOutbound: literal('internet'),
    ...objects,
    bindings: list([struct({ name: literal('DATABASE'), durableObjectNamespace: literal(CLASS) })]),
  });
  return struct({ name: literal('user'), worker });
}
