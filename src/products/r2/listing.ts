/** Lists of a bucket's objects, in the order of their keys' UTF-8 bytes; with a delimiter, keys that share what is before it are one prefix. */
import type { Ledger } from '../../state/ledger.ts';
import { behindPrefix, ledgerKey, nameOf } from '../../state/ordered-keys.ts';
import { type Bucket, keys, type StoredObject } from './documents.ts';
import { R2Error } from './limits.ts';

/** Documents read at once; few where each may be the first of many with its prefix. */
const PAGE = 500;
const DELIMITED_PAGE = 20;

/** Behind which the next page begins: a key, or all keys with a prefix. */
export type Position = { key: string } | { prefix: string };

export interface ListOptions {
  prefix?: string;
  /** '' is none. */
  delimiter?: string;
  limit: number;
  after?: Position;
  /** Asked for each object, and each prefix (null): false ends the page before it, if it is not the first. */
  fits?(name: string, object: StoredObject | null): boolean;
}

export interface Listed {
  objects: { key: string; object: StoredObject }[];
  prefixes: string[];
  /** Null at the end. */
  next: Position | null;
}

export async function listObjects(
  ledger: Ledger,
  { id }: Bucket,
  { prefix = '', delimiter = '', limit, after, fits = () => true }: ListOptions,
): Promise<Listed> {
  const namespace = keys.objects(id);
  const objects: Listed['objects'] = [];
  const prefixes: string[] = [];
  let last: Position | null = null;
  let behind = after && ('key' in after ? ledgerKey(namespace, after.key) : behindPrefix(namespace, after.prefix));
  const size = delimiter === '' ? PAGE : DELIMITED_PAGE;
  if (limit === 0) return { objects, prefixes, next: null };
  for (;;) {
    const page = await ledger.list<StoredObject>(ledgerKey(namespace, prefix), { after: behind, limit: size });
    for (const { key: id, value: object } of page) {
      if (objects.length + prefixes.length === limit) return { objects, prefixes, next: last };
      const key = nameOf(id, namespace);
      const at = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
      if (at >= 0) {
        const common = key.slice(0, at + delimiter.length);
        if (!fits(common, null) && last) return { objects, prefixes, next: last };
        prefixes.push(common);
        last = { prefix: common };
        behind = behindPrefix(namespace, common);
        break;
      }
      if (!fits(key, object) && last) return { objects, prefixes, next: last };
      objects.push({ key, object });
      last = { key };
      behind = id;
    }
    if (page.length === 0) return { objects, prefixes, next: null };
  }
}

/** The order of lists: that of the keys' UTF-8 bytes. */
export function compareKeys(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** A position as a client keeps it. */
export function encodeCursor(position: Position): string {
  return Buffer.from('key' in position ? `k${position.key}` : `p${position.prefix}`).toString('base64url');
}

/** Throws R2Error for what `encodeCursor` did not make. */
export function decodeCursor(cursor: string): Position {
  const text = /^[\w-]{1,2048}$/.test(cursor) ? Buffer.from(cursor, 'base64url').toString() : '';
  if (text.startsWith('k')) return { key: text.slice(1) };
  if (text.startsWith('p')) return { prefix: text.slice(1) };
  throw new R2Error('InvalidArgument', 'The continuation token provided is incorrect.');
}
