/** For tests of this folder: a real host in a temporary directory, and versions from source text. */
import { createHash, randomUUID } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { Binding, ModuleType, Version } from '../../model/documents.ts';
import type { Attach } from '../../model/messages.ts';
import type { Settings } from '../../model/settings.ts';
import { openFileBlobs } from '../../state/file-blobs.ts';
import { openVault } from '../../state/vault.ts';
import { createIsolateHost, type IsolateHost } from './host.ts';

export interface Bench {
  host: IsolateHost;
  runDir: string;
  cacheDir: string;
  usage: Map<string, number>;
  seal(text: string): string;
  /** A version of one or more modules (name -> source); the first is the main one. */
  version(modules: Record<string, string>, over?: Partial<Version>): Promise<Version>;
  close(): Promise<void>;
}

export async function openBench(
  options: {
    zygotes?: number;
    sandbox?: Settings['sandbox'];
    traced?: boolean;
    attach?: (attach: Attach) => Promise<void>;
  } = {},
): Promise<Bench> {
  const directory = await mkdtemp(join(tmpdir(), 'sv-'));
  // As `selvedge up` makes it: processes with a uid of their own pass through.
  await chmod(directory, 0o711);
  const blobs = await openFileBlobs(join(directory, 'blobs'));
  const vault = openVault(join(directory, 'key'));
  const usage = new Map<string, number>();
  const cacheDir = join(directory, 'compiled');
  const host = await createIsolateHost({
    runDir: directory,
    cacheDir,
    objectsDir: join(directory, 'objects'),
    blobs,
    vault,
    zygotes: options.zygotes ?? 1,
    sandbox: options.sandbox ?? 'auto',
    traced: options.traced ?? false,
    attach: options.attach ?? (async () => undefined),
    detach: async () => undefined,
    onUsage: (version, ms) => usage.set(version.script, (usage.get(version.script) ?? 0) + ms),
  });
  return {
    host,
    runDir: directory,
    cacheDir,
    usage,
    seal: (secret) => vault.seal(secret),
    async version(modules, over = {}) {
      const refs = await Promise.all(
        Object.entries(modules).map(async ([name, source]) => ({
          name,
          type: typeOf(name),
          ...(await blobs.put(Buffer.from(source))),
        })),
      );
      return {
        id: randomUUID(),
        accountId: 'acc',
        script: 'test',
        number: 1,
        createdOn: '2026-11-01T00:00:00.000Z',
        authorEmail: '',
        source: 'wrangler',
        annotations: {},
        format: 'modules',
        mainModule: refs[0]!.name,
        modules: refs,
        bindings: [] as Binding[],
        compatibilityDate: '2026-11-01',
        compatibilityFlags: [],
        limits: { cpuMs: 30_000, memoryMb: 128, subrequests: 50 },
        placement: null,
        assets: null,
        etag: createHash('sha256').update(JSON.stringify(refs)).digest('hex'),
        handlers: [],
        entrypoints: [],
        startupTimeMs: 0,
        ...over,
      };
    },
    async close() {
      await host.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function typeOf(name: string): ModuleType {
  if (name.endsWith('.txt')) return 'text';
  if (name.endsWith('.json')) return 'json';
  return name.endsWith('.cjs') ? 'commonjs' : 'esm';
}

export interface Answer {
  status: number;
  headers: Record<string, unknown>;
  body: string;
}

/** One request over a unix socket. */
export function ask(socketPath: string, path = '/', headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = httpRequest(
      { socketPath, path, headers: { host: 'test.example', ...headers }, agent: false },
      (response) => {
        text(response).then(
          (body) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
          reject,
        );
      },
    );
    asked.on('error', reject).end();
  });
}
