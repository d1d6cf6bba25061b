/** D1 databases of accounts: their documents in the ledger. What is in a database is in files of its own (`process.ts`). */
import { randomUUID } from 'node:crypto';
import { keys } from '../../model/keys.ts';
import type { Ledger } from '../../state/ledger.ts';
import { ID } from './limits.ts';

export interface Database {
  /** A UUID. */
  id: string;
  accountId: string;
  name: string;
  /** ISO 8601. */
  createdOn: string;
}

export class Databases {
  readonly #ledger: Ledger;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** Null if the account has none of this id. */
  async get(accountId: string, id: string): Promise<Database | null> {
    if (!ID.test(id)) return null;
    return (await this.#ledger.get<Database>(keys.d1(accountId, id)))?.value ?? null;
  }

  /** By id or name. */
  async find(accountId: string, idOrName: string): Promise<Database | null> {
    if (ID.test(idOrName)) return this.get(accountId, idOrName);
    return (await this.list(accountId)).find(({ name }) => name === idOrName) ?? null;
  }

  /** Of an account, the newest first. */
  async list(accountId: string): Promise<Database[]> {
    const entries = await this.#ledger.list<Database>(keys.d1(accountId, ''));
    return entries.map(({ value }) => value).sort((a, b) => (a.createdOn < b.createdOn ? 1 : -1));
  }

  /** Of all accounts. */
  async all(): Promise<Database[]> {
    return (await this.#ledger.list<Database>(keys.d1())).map(({ value }) => value);
  }

  async create(accountId: string, name: string): Promise<Database> {
    const database = { id: randomUUID(), accountId, name, createdOn: new Date().toISOString() };
    await this.#ledger.put(keys.d1(accountId, database.id), database, 0);
    return database;
  }

  async remove({ accountId, id }: Database): Promise<void> {
    await this.#ledger.delete(keys.d1(accountId, id));
  }
}
