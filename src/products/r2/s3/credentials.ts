/**
 * S3 credentials: the access key is an API token's id, the secret the SHA-256 of its value, as on R2
 * (https://developers.cloudflare.com/r2/api/tokens/#get-s3-api-credentials-from-an-api-token). Tokens are followed in the ledger, so that a
 * revoked one ends within a moment.
 */
import type { Token } from '../../../model/documents.ts';
import { keys } from '../../../model/keys.ts';
import type { Ledger } from '../../../state/ledger.ts';
import { R2Error } from '../limits.ts';

export interface Credential {
  secret: string;
  token: Token;
}

export interface Credentials {
  /** Throws R2Error Unauthorized for unknown, revoked and expired ones: which of the three it is stays unsaid. */
  find(accessKeyId: string): Credential;
  close(): void;
}

/** What an operation does: to objects, or to buckets themselves. */
export interface Action {
  level: 'object' | 'bucket';
  writes: boolean;
}

export async function followCredentials(ledger: Ledger): Promise<Credentials> {
  const known = new Map<string, Credential>();
  const set = (key: string, token: Token) => known.set(token.id, { secret: key.slice(keys.tokens.length), token });
  const from = await ledger.sequence();
  for (const { key, value } of await ledger.list<Token>(keys.tokens)) set(key, value);
  const stop = ledger.watch(from, (changes) => {
    for (const { key, value } of changes) {
      if (!key.startsWith(keys.tokens)) continue;
      if (value) set(key, value as Token);
      else for (const [id, { secret }] of known) if (key.endsWith(secret)) known.delete(id);
    }
  });
  return {
    find(accessKeyId) {
      const credential = known.get(accessKeyId);
      const { revokedOn = null, expiresOn = null } = credential?.token ?? {};
      if (!credential || revokedOn !== null || (expiresOn !== null && Date.parse(expiresOn) <= Date.now())) {
        throw new R2Error('Unauthorized', 'The access key is unknown, revoked or expired.');
      }
      return credential;
    },
    close: stop,
  };
}

/** Throws R2Error AccessDenied if the token is for less. `bucket`: null of what is about no bucket. */
export function authorize({ r2 }: Token, { level, writes }: Action, bucket: string | null): void {
  if (!r2) return;
  const allowed =
    level === 'object' &&
    bucket !== null &&
    (r2.buckets === null || r2.buckets.includes(bucket)) &&
    (r2.access === 'write' || !writes);
  if (!allowed) throw new R2Error('AccessDenied', 'Access Denied: the token is not for this.');
}
