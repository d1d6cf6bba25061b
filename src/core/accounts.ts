/**
 * Accounts and their API tokens. Used by the control API and by the commands `selvedge account` and `selvedge token`.
 * Of a token only the SHA-256 is kept: its value is shown once, when it is made.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Account, Token } from '../model/documents.ts';
import { keys } from '../model/keys.ts';
import { S3_LABEL } from '../model/route.ts';
import { type Ledger, RevisionConflict } from '../state/ledger.ts';
import { ApiError } from './errors.ts';

/** RFC 1035 section 2.3.1 as used today (RFC 1123: may begin with a digit), lower case. */
const DNS_LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** 32 lower-case hex digits, Cloudflare's form of an id. */
export function newId(): string {
  return randomBytes(16).toString('hex');
}

/**
 * Makes an account. Throws ApiError 10033 (not a DNS label), 10032 (subdomain taken), 10001 (name).
 * The subdomain is claimed first: two callers cannot both get it.
 */
export async function createAccount(ledger: Ledger, input: { name: string; subdomain: string }): Promise<Account> {
  const name = input.name.trim();
  const subdomain = input.subdomain.toLowerCase();
  if (name === '' || name.length > 100) throw new ApiError(10001, 'An account name has 1 to 100 characters.');
  if (!DNS_LABEL.test(subdomain)) {
    throw new ApiError(
      10033,
      `"${input.subdomain}" is not a DNS label: 1 to 63 letters, digits and hyphens, no hyphen at either end.`,
    );
  }
  const account: Account = { id: newId(), name, subdomain, createdOn: new Date().toISOString() };
  if (subdomain === S3_LABEL) throw new ApiError(10032, `The subdomain "${subdomain}" is that of the S3 API.`);
  const claim = await ledger.get<{ accountId: string }>(keys.subdomain(subdomain));
  // A claim without its account is what a process left that was killed between these two writes.
  const taken = claim && (await ledger.get(keys.account(claim.value.accountId)));
  try {
    if (taken) throw new RevisionConflict(subdomain);
    await ledger.put(keys.subdomain(subdomain), { accountId: account.id }, claim?.revision ?? 0);
  } catch (error) {
    if (error instanceof RevisionConflict) throw new ApiError(10032, `The subdomain "${subdomain}" is taken.`);
    throw error;
  }
  await ledger.put(keys.account(account.id), account, 0);
  return account;
}

/** All accounts, oldest first. */
export async function listAccounts(ledger: Ledger): Promise<Account[]> {
  const accounts = (await ledger.list<Account>(keys.accounts)).map((entry) => entry.value);
  return accounts.sort((a, b) => a.createdOn.localeCompare(b.createdOn));
}

/**
 * Makes a token; `value` (43 URL-safe characters, 256 random bits) is not kept anywhere and cannot be shown again.
 * `expiresOn`: ISO 8601 or null for never. Throws ApiError 10001, 9109 (no such account).
 */
export async function createToken(
  ledger: Ledger,
  input: { accountId: string; name: string; expiresOn: string | null; r2?: Token['r2'] },
): Promise<{ token: Token; value: string }> {
  if (!(await ledger.get(keys.account(input.accountId)))) {
    throw new ApiError(9109, `There is no account ${input.accountId}.`);
  }
  if (input.expiresOn !== null && Number.isNaN(Date.parse(input.expiresOn))) {
    throw new ApiError(10001, `"${input.expiresOn}" is not a date in ISO 8601.`);
  }
  const value = randomBytes(32).toString('base64url');
  const token: Token = {
    id: newId(),
    accountId: input.accountId,
    name: input.name,
    createdOn: new Date().toISOString(),
    expiresOn: input.expiresOn === null ? null : new Date(input.expiresOn).toISOString(),
    revokedOn: null,
    ...(input.r2 && { r2: input.r2 }),
  };
  await ledger.put(keys.token(tokenHash(value)), token, 0);
  return { token, value };
}

/** Tokens (also revoked and expired ones) of an account, or of all, oldest first. */
export async function listTokens(ledger: Ledger, accountId?: string): Promise<Token[]> {
  const tokens = (await ledger.list<Token>(keys.tokens)).map((entry) => entry.value);
  return tokens
    .filter((token) => accountId === undefined || token.accountId === accountId)
    .sort((a, b) => a.createdOn.localeCompare(b.createdOn));
}

/** Revokes a token at once. Returns it; throws ApiError 10001 when no token has this id. */
export async function revokeToken(ledger: Ledger, id: string): Promise<Token> {
  const entry = (await ledger.list<Token>(keys.tokens)).find((candidate) => candidate.value.id === id);
  if (!entry) throw new ApiError(10001, `There is no token with the id ${id}.`);
  if (entry.value.revokedOn) return entry.value;
  const revoked: Token = { ...entry.value, revokedOn: new Date().toISOString() };
  await ledger.put(entry.key, revoked, entry.revision);
  return revoked;
}

/** The token with this value if it is neither revoked nor expired, else null. */
export async function findToken(ledger: Ledger, value: string): Promise<Token | null> {
  const token = (await ledger.get<Token>(keys.token(tokenHash(value))))?.value;
  if (!token || token.revokedOn !== null) return null;
  if (token.expiresOn !== null && Date.parse(token.expiresOn) <= Date.now()) return null;
  return token;
}

/**
 * What S3 clients take for a token, as on R2: its id, and the SHA-256 of its value
 * (https://developers.cloudflare.com/r2/api/tokens/#get-s3-api-credentials-from-an-api-token).
 */
export function s3Credentials(token: Token, value: string): { accessKeyId: string; secretAccessKey: string } {
  return { accessKeyId: token.id, secretAccessKey: tokenHash(value) };
}

function tokenHash(value: string): string {
  return createHash('sha256').update(value).digest('hex');
}
