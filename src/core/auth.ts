/** Who is asking: bearer token -> account. Codes as Cloudflare answers them; wrangler branches on some. */
import type { Account, Token } from '../model/documents.ts';
import { keys } from '../model/keys.ts';
import type { Ledger } from '../state/ledger.ts';
import { findToken } from './accounts.ts';
import { ApiError } from './errors.ts';

/** RFC 6750 section 2.1, b64token. */
const BEARER = /^Bearer +([A-Za-z0-9\-._~+/]{20,256}=*)$/i;

/**
 * The account and token of a request. Throws ApiError 9106 (no header), 6003 (malformed), and for unknown, revoked and expired
 * tokens 1000 on /user/tokens/verify and 10000 elsewhere: which of the three it is stays unsaid.
 */
export async function authenticate(
  ledger: Ledger,
  headers: Headers,
  path: string,
): Promise<{ account: Account; token: Token }> {
  const header = headers.get('authorization');
  if (header === null) {
    throw new ApiError(9106, 'Missing "Authorization" header: send "Authorization: Bearer <API token>"');
  }
  const value = BEARER.exec(header)?.[1];
  if (value === undefined) {
    throw new ApiError(6003, 'Invalid request headers', [
      { code: 6111, message: 'Invalid format for Authorization header' },
    ]);
  }
  const token = await findToken(ledger, value);
  const account = token && (await ledger.get<Account>(keys.account(token.accountId)))?.value;
  if (!token || !account) {
    if (path.endsWith('/user/tokens/verify')) throw new ApiError(1000, 'Invalid API Token');
    throw new ApiError(10000, 'Authentication error');
  }
  if (token.r2)
    throw new ApiError(9109, 'Unauthorized to access requested resource: the token is for the S3 API alone.');
  return { account, token };
}
