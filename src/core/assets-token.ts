/**
 * Tokens of asset uploads: JWTs (HS256) that name an account, a Worker and an upload session. "upload" lets its holder upload the
 * session's files; "complete" says that all of them are there, and attaches them to a version. The signing key is in the ledger,
 * sealed, so that an upload survives a restart of the core.
 * Source: https://developers.cloudflare.com/workers/static-assets/direct-upload/ ("valid for 1 hour").
 */
import { randomBytes } from 'node:crypto';
import { sign, verify } from 'hono/jwt';
import { keys } from '../model/keys.ts';
import { RevisionConflict } from '../state/ledger.ts';
import type { CoreContext } from './context.ts';
import { ApiError } from './errors.ts';

const LIFETIME_SECONDS = 3600;

export interface AssetsClaims {
  kind: 'upload' | 'complete';
  accountId: string;
  script: string;
  /** Hash of the blob with the session's manifest. */
  session: string;
}

type Parts = Pick<CoreContext, 'ledger' | 'vault'>;

export async function signAssetsToken(context: Parts, claims: AssetsClaims): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  return sign({ ...claims, iat: now, exp: now + LIFETIME_SECONDS }, await signingKey(context), 'HS256');
}

/** The claims of a token of that kind. Throws ApiError 10303. */
export async function verifyAssetsToken(
  context: Parts,
  token: string,
  kind: AssetsClaims['kind'],
): Promise<AssetsClaims> {
  const refused = (why: string) => new ApiError(10303, `The token of the asset upload ${why}: start the upload again.`);
  let claims: Record<string, unknown>;
  try {
    claims = await verify(token, await signingKey(context), { alg: 'HS256', iat: false });
  } catch (error) {
    if (!(error instanceof Error) || !error.name.startsWith('Jwt')) throw error;
    throw refused(error.name === 'JwtTokenExpired' ? 'has expired' : 'is not valid');
  }
  if (claims.kind !== kind) {
    throw refused(kind === 'complete' ? 'is that of an upload that is not complete' : 'does not allow to upload');
  }
  return claims as unknown as AssetsClaims;
}

async function signingKey({ ledger, vault }: Parts): Promise<string> {
  const stored = await ledger.get<{ sealed: string }>(keys.assetsKey);
  if (stored) return vault.unseal(stored.value.sealed);
  const key = randomBytes(32).toString('base64url');
  try {
    await ledger.put(keys.assetsKey, { sealed: vault.seal(key) }, 0);
    return key;
  } catch (error) {
    if (!(error instanceof RevisionConflict)) throw error;
    return signingKey({ ledger, vault });
  }
}
