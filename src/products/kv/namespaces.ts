/** KV namespaces of accounts. Their documents are in KV's own ledger, so that who serves the entries knows which namespaces there are. */
import { randomBytes } from 'node:crypto';
import type { Ledger } from '../../state/ledger.ts';

export interface Namespace {
  /** 32 hex digits. */
  id: string;
  accountId: string;
  title: string;
  /** ISO 8601. */
  createdOn: string;
}

const keyOf = (accountId: string, id: string) => `namespace/${accountId}/${id}`;

export class Namespaces {
  readonly #ledger: Ledger;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** Null if the account has none of this id. */
  async find(accountId: string, id: string): Promise<Namespace | null> {
    if (!/^[0-9a-f]{32}$/.test(id)) return null;
    return (await this.#ledger.get<Namespace>(keyOf(accountId, id)))?.value ?? null;
  }

  /** By title. */
  async list(accountId: string): Promise<Namespace[]> {
    const entries = await this.#ledger.list<Namespace>(keyOf(accountId, ''));
    return entries.map(({ value }) => value).sort((a, b) => (a.title < b.title ? -1 : 1));
  }

  async create(accountId: string, title: string): Promise<Namespace> {
    const id = randomBytes(16).toString('hex');
    const namespace = { id, accountId, title, createdOn: new Date().toISOString() };
    await this.#ledger.put(keyOf(accountId, id), namespace, 0);
    return namespace;
  }

  async rename(namespace: Namespace, title: string): Promise<Namespace> {
    const renamed = { ...namespace, title };
    await this.#ledger.put(keyOf(namespace.accountId, namespace.id), renamed);
    return renamed;
  }

  async remove({ accountId, id }: Namespace): Promise<void> {
    await this.#ledger.delete(keyOf(accountId, id));
  }
}
