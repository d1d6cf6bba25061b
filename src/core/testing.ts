/** For tests of this folder: the control API on a port of its own, with real state and real inspection of scripts. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { testSettings } from '../config/testing.ts';
import type { Account } from '../model/documents.ts';
import type { Settings } from '../model/settings.ts';
import { createIsolateHost } from '../pop/isolates/host.ts';
import { closeProducts, openCoreProducts } from '../products/state.ts';
import { openFileBlobs } from '../state/file-blobs.ts';
import type { Ledger } from '../state/ledger.ts';
import { createHub, type Hub } from '../state/local-bus.ts';
import { openObjectFiles } from '../state/object-files.ts';
import { openSqliteLedger } from '../state/sqlite-ledger.ts';
import { openUsage, type Usage } from '../state/usage.ts';
import { openVault } from '../state/vault.ts';
import { createAccount, createToken } from './accounts.ts';
import { startCore } from './server.ts';

export interface Answer {
  status: number;
  success: boolean;
  result: any;
  errors: { code: number; message: string; error_chain?: { code: number }[] }[];
  result_info?: Record<string, number>;
}

export interface Bench {
  /** Base URL with /client/v4. */
  base: string;
  origin: string;
  directory: string;
  ledger: Ledger;
  bus: Hub;
  usage: Usage;
  alice: Account;
  bob: Account;
  tokens: { alice: string; bob: string };
  /** Sequence numbers that the API waited for. */
  applied: number[];
  unseal(sealed: string): string;
  /** A call with alice's token unless another (or null for none) is given; `body` is sent as JSON unless it is a FormData. */
  api(method: string, path: string, body?: unknown, token?: string | null): Promise<Answer>;
  /** Stops the API and starts it again on the same state, at another port. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

export async function openBench(overrides: Partial<Settings> = {}): Promise<Bench> {
  const directory = await mkdtemp(join(tmpdir(), 'sc-'));
  const ledger = openSqliteLedger(join(directory, 'ledger.sqlite'));
  const blobs = await openFileBlobs(join(directory, 'blobs'));
  const products = await openCoreProducts(directory);
  const objectFiles = openObjectFiles(join(directory, 'objects'));
  const vault = openVault(join(directory, 'key'));
  const usage = openUsage(join(directory, 'usage.sqlite'));
  const bus = createHub();
  const host = await createIsolateHost({
    runDir: directory,
    cacheDir: join(directory, 'compiled'),
    objectsDir: join(directory, 'objects'),
    blobs,
    vault,
    zygotes: 1,
    sandbox: 'auto',
    traced: false,
    attach: async () => undefined,
    detach: async () => undefined,
    onUsage: () => undefined,
  });
  const applied: number[] = [];
  bus.respond('pop.inspect', ({ version }) => host.inspect(version));
  bus.respond('pop.applied', ({ sequence }) => {
    applied.push(sequence);
    return {};
  });
  const settings = testSettings(directory, { edges: 1, isolateMemoryMb: 256, zygotes: 1, ...overrides });
  const alice = await createAccount(ledger, { name: 'Alice', subdomain: 'alice' });
  const bob = await createAccount(ledger, { name: 'Bob', subdomain: 'bob' });
  const token = async ({ id }: Account) =>
    (await createToken(ledger, { accountId: id, name: 'test', expiresOn: null })).value;
  const tokens = { alice: await token(alice), bob: await token(bob) };
  const parts = { settings, ledger, blobs, ...products, objectFiles, vault, bus, usage };
  let server = await startCore(parts);
  const originOf = () => `http://127.0.0.1:${server.port}`;
  return {
    get base() {
      return `${originOf()}/client/v4`;
    },
    get origin() {
      return originOf();
    },
    directory,
    ledger,
    bus,
    usage,
    alice,
    bob,
    tokens,
    applied,
    unseal: (sealed) => vault.unseal(sealed),
    async api(method, path, body, given = tokens.alice) {
      const response = await fetch(`${originOf()}/client/v4${path}`, {
        method,
        headers: given === null ? {} : { authorization: `Bearer ${given}` },
        ...(body !== undefined && { body: body instanceof FormData ? body : JSON.stringify(body) }),
      });
      return { status: response.status, ...((await response.json()) as Omit<Answer, 'status'>) };
    },
    async restart() {
      await server.close();
      server = await startCore(parts);
    },
    async close() {
      await server.close();
      await host.close();
      await bus.close();
      usage.close();
      await closeProducts(products);
      await ledger.close();
      await blobs.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export const HELLO = 'export default { fetch() { return new Response("hello") } }';

/** A module Worker's upload as wrangler sends it. `modules`: name -> source; the first is the main one. */
export function upload(
  metadata: Record<string, unknown> = {},
  modules: Record<string, string | File> = { 'index.js': HELLO },
): FormData {
  const form = new FormData();
  const main = Object.keys(modules)[0];
  form.set(
    'metadata',
    JSON.stringify({ ...(main && { main_module: main }), compatibility_date: '2026-11-01', ...metadata }),
  );
  for (const [name, source] of Object.entries(modules)) {
    const file =
      typeof source === 'string' ? new File([source], name, { type: 'application/javascript+module' }) : source;
    form.set(name, file, name);
  }
  return form;
}
