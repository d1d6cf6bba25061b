/**
 * States of D1 databases that can be restored: taken when somebody asks for the bookmark of now, before SQL of the control API that may write,
 * before a restore, and each hour for databases that were written. While files are copied the database answers nothing.
 */
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { serialized } from '../../core/serialize.ts';
import { layout } from '../../model/layout.ts';
import { log, reason } from '../../model/log.ts';
import type { Requests } from '../../model/messages.ts';
import type { Bus } from '../../state/bus.ts';
import { openDatabaseSnapshots } from '../../state/database-snapshots.ts';
import type { DatabaseClient } from './client.ts';
import type { Database, Databases } from './databases.ts';
import { DatabaseError } from './limits.ts';
import { D1_NAMESPACE, storageOf } from './process.ts';

const LIMITS = { count: 24, bytes: 2_000_000_000, ageMs: 30 * 24 * 3_600_000 };
/** A larger database is not copied: without shared blocks that would take seconds. */
const MAX_BYTES = 1_000_000_000;
const MAX_AUTOMATIC_BYTES = 256_000_000;
/** Between two that nobody asked for, of one database. */
const AUTOMATIC_MS = 60_000;
/** As in `system-workers/d1.js`, less some time for what follows. */
const FROZEN_MS = 28_000;
const HOUR_MS = 3_600_000;
const RESTORE_TIMEOUT_MS = 60_000;

export interface Snapshots {
  /** Bookmark of the state now, which is kept. Throws DatabaseError for a database that is too large. */
  now(database: Database): Promise<string>;
  /** The same before something is done to the database; what cannot be kept is let go. */
  before(database: Database): Promise<void>;
  list(database: Database): Promise<string[]>;
  /** Puts a state from the list back. Returns the bookmark of the state before. */
  restore(database: Database, bookmark: string): Promise<string>;
  remove(database: Database): Promise<void>;
  close(): void;
}

/** What a database says when it answers nothing until it is told to go on. `state` changes with each write. */
interface Frozen {
  /** When it goes on by itself, in `performance.now()`. */
  until: number;
  bookmark: string;
  state: string;
  size: number;
}

export function openSnapshots(bus: Bus, dataDir: string, client: DatabaseClient, databases: Databases): Snapshots {
  const paths = layout(dataDir);
  const files = openDatabaseSnapshots(paths.d1Snapshots, LIMITS);
  /** Database id -> the state that was taken last. */
  const taken = new Map<string, { state: string; bookmark: string; at: number }>();

  /** One at a time for each database. `work` runs while the database is still. */
  function still<T>(database: Database, work: (frozen: Frozen) => Promise<T>): Promise<T> {
    return serialized(`d1/snapshot/${database.id}`, async () => {
      const until = performance.now() + FROZEN_MS;
      const answer = await client.ask(database, { method: 'POST', path: '/freeze' });
      const frozen: Frozen = { until, ...((await json(answer)) as Omit<Frozen, 'until'>) };
      try {
        return await work(frozen);
      } finally {
        const thawed = client.ask(database, { method: 'POST', path: '/thaw' }).then((answer) => answer.resume());
        // After a restore its process is another; otherwise it goes on by itself after a while.
        await thawed.catch((error: unknown) =>
          log('debug', 'a database was not told to go on', { error: reason(error) }),
        );
      }
    });
  }

  async function take(database: Database, { until, bookmark, state, size }: Frozen, most: number): Promise<string> {
    const last = taken.get(database.id);
    if (last?.state === state && (await files.list(database.id)).includes(last.bookmark)) return last.bookmark;
    if (size > most) {
      throw new DatabaseError(
        `Time travel: a database above ${most / 1e6} MB is not kept here (it has ${size} bytes).`,
      );
    }
    await files.take(database.id, join(paths.objects, storageOf(database.id), D1_NAMESPACE), bookmark);
    if (performance.now() > until) {
      // Copied while it was written: no state at all.
      await files.drop(database.id, bookmark);
      throw tooLong();
    }
    taken.set(database.id, { state, bookmark, at: Date.now() });
    return bookmark;
  }

  async function before(database: Database): Promise<void> {
    if (Date.now() - (taken.get(database.id)?.at ?? 0) < AUTOMATIC_MS) return;
    await still(database, (frozen) => take(database, frozen, MAX_AUTOMATIC_BYTES)).catch((error: unknown) => {
      if (!(error instanceof DatabaseError))
        log('warn', 'a state of a database is not kept', { id: database.id, error: reason(error) });
    });
  }

  /** Of all databases that were written within the last hour. */
  async function hourly(): Promise<void> {
    const to = new Date();
    const from = new Date(to.getTime() - HOUR_MS);
    const hours = { from: from.toISOString().slice(0, 13), to: to.toISOString().slice(0, 13) };
    const all = await databases.all();
    const existing = new Set(all.map(({ id }) => id));
    for (const id of await files.ids()) if (!existing.has(id)) await files.remove(id);
    for (const accountId of new Set(all.map((database) => database.accountId))) {
      const asked: Requests['pop.product-usage'][0] = { product: 'd1', accountId, ...hours };
      const used: Requests['pop.product-usage'][1] = await bus.request('pop.product-usage', asked);
      const written = new Set(used.filter(({ amounts }) => amounts.writeQueries).map(({ resource }) => resource));
      for (const database of all) if (written.has(database.id)) await before(database);
    }
  }
  const timer = setInterval(() => {
    hourly().catch((error: unknown) => log('warn', 'states of databases are not kept', { error: reason(error) }));
  }, HOUR_MS).unref();

  return {
    now: (database) => still(database, (frozen) => take(database, frozen, MAX_BYTES)),
    before,
    list: ({ id }) => files.list(id),
    restore: (database, bookmark) =>
      still(database, async (frozen) => {
        // First: the state may be the oldest, which goes when there is one more.
        const from = await files.copy(database.id, bookmark);
        const previous = await take(database, frozen, MAX_BYTES);
        // What it was told to write since is not in the state before.
        if (performance.now() > frozen.until) throw tooLong();
        await bus.request('local.d1-restore', { id: database.id, from }, { timeoutMs: RESTORE_TIMEOUT_MS });
        taken.delete(database.id);
        return previous;
      }),
    async remove({ id }) {
      taken.delete(id);
      await files.remove(id);
    },
    close: () => clearInterval(timer),
  };
}

function tooLong(): DatabaseError {
  return new DatabaseError('Time travel: copying the database took too long.');
}
