/** The first start: an account with a token, the welcome Worker, and `wrangler.env`. Later starts find them and only follow a changed port. */
import { existsSync } from 'node:fs';
import { createAccount, createToken, findToken, listAccounts, s3Credentials } from '../core/accounts.ts';
import { deployWelcome } from '../core/welcome.ts';
import type { Account } from '../model/documents.ts';
import { layout } from '../model/layout.ts';
import type { Settings } from '../model/settings.ts';
import { openFileBlobs } from '../state/file-blobs.ts';
import { writePrivate } from '../state/private-file.ts';
import { openSqliteLedger } from '../state/sqlite-ledger.ts';
import { openVault } from '../state/vault.ts';
import { readWranglerEnv, urlHost } from './data-dir.ts';

export interface Installation {
  /** The first account: the one that `wrangler.env` is for. */
  account: Account;
  /** Value of a token that was made just now, null if the one of wrangler.env is valid. */
  token: string | null;
  /** Text of wrangler.env. */
  wranglerEnv: string;
}

/** Sets up what is missing. Throws DamagedState for files that cannot be used. */
export async function install(settings: Settings): Promise<Installation> {
  const paths = layout(settings.dataDir);
  openVault(paths.secretKey);
  const ledger = openSqliteLedger(paths.ledger);
  const blobs = await openFileBlobs(paths.blobs);
  try {
    const accounts = await listAccounts(ledger);
    const account = accounts[0] ?? (await createAccount(ledger, { name: 'default', subdomain: 'edge' }));
    // wrangler.env is written last: without it a first start was not finished.
    if (!existsSync(paths.wranglerEnv)) await deployWelcome(ledger, blobs, account.id, settings.plan);
    const kept = readWranglerEnv(settings.dataDir).CLOUDFLARE_API_TOKEN;
    const found = kept === undefined ? null : await findToken(ledger, kept);
    const made =
      found?.accountId === account.id
        ? null
        : await createToken(ledger, { accountId: account.id, name: 'wrangler.env', expiresOn: null });
    const value = made?.value ?? kept!;
    const s3 = s3Credentials(made?.token ?? found!, value);
    const wranglerEnv = `export CLOUDFLARE_API_BASE_URL="http://${urlHost(settings.apiListen)}:${settings.apiPort}/client/v4"
export CLOUDFLARE_ACCOUNT_ID="${account.id}"
export CLOUDFLARE_API_TOKEN="${value}"
export WRANGLER_SEND_METRICS="false"
export AWS_ENDPOINT_URL="http://${urlHost(settings.s3Listen)}:${settings.s3Port}"
export AWS_REGION="auto"
export AWS_ACCESS_KEY_ID="${s3.accessKeyId}"
export AWS_SECRET_ACCESS_KEY="${s3.secretAccessKey}"
`;
    writePrivate(paths.wranglerEnv, wranglerEnv);
    return { account, token: made?.value ?? null, wranglerEnv };
  } finally {
    await blobs.close();
    await ledger.close();
  }
}
