/** Cursors of lists: the key behind which the next page begins, as an opaque text. */
import { checkKey, KvError } from './limits.ts';

export function encodeCursor(key: string): string {
  return Buffer.from(key).toString('base64url');
}

/** Throws KvError for what is no cursor. */
export function decodeCursor(cursor: string): string {
  const key = Buffer.from(cursor, 'base64url').toString();
  if (encodeCursor(key) !== cursor) throw new KvError(400, 'Invalid cursor.');
  checkKey(key);
  return key;
}
