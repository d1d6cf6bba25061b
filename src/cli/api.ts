/** Calls of the control API by commands, with the token of `wrangler.env`, or one of another account that lives as long as the call. */
import { createToken, revokeToken } from '../core/accounts.ts';
import { reason } from '../model/log.ts';
import { existingDataDir, type Running, readWranglerEnv, requireRunning, urlHost, withLedger } from './data-dir.ts';

const TIMEOUT_MS = 30_000;
const TOKEN_LIFE_MS = 60_000;

export interface ApiCall {
  /** The `--data` of the command. */
  data: string;
  /** Another account than that of wrangler.env. */
  account?: string | undefined;
  method?: string;
  /** `/selvedge/...`, or relative to `/client/v4` with {account} for the account's id. */
  path: string;
  body?: unknown;
}

/** The call's `result`. Throws one sentence: nothing runs, no answer, or what the API said was wrong. */
export async function callApi<T>(call: ApiCall): Promise<T> {
  const dataDir = existingDataDir(call.data);
  const running = requireRunning(dataDir);
  const own = readWranglerEnv(dataDir);
  const account = call.account ?? own.CLOUDFLARE_ACCOUNT_ID ?? running.accountId;
  if (account === own.CLOUDFLARE_ACCOUNT_ID) return send(running, call, account, own.CLOUDFLARE_API_TOKEN ?? '');
  const expiresOn = new Date(Date.now() + TOKEN_LIFE_MS).toISOString();
  const { token, value } = await withLedger(call.data, (ledger) =>
    createToken(ledger, { accountId: account, name: 'selvedge command', expiresOn }),
  );
  try {
    return await send(running, call, account, value);
  } finally {
    await withLedger(call.data, (ledger) => revokeToken(ledger, token.id));
  }
}

async function send<T>(running: Running, call: ApiCall, account: string, token: string): Promise<T> {
  const { method = 'GET', path, body } = call;
  const prefix = path.startsWith('/selvedge') ? '' : '/client/v4';
  const url = `http://${urlHost(running.apiListen)}:${running.api}${prefix}${path.replace('{account}', account)}`;
  const response = await fetch(url, {
    method,
    headers: { authorization: `Bearer ${token}` },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  }).catch((error: Error) => {
    // undici says "fetch failed" and gives the reason as the cause.
    throw new Error(`the control API at ${url} does not answer: ${reason(error.cause ?? error)}`);
  });
  const answer = (await response.json().catch(() => null)) as { result: T; errors: { message: string }[] } | null;
  if (response.ok && answer) return answer.result;
  throw new Error(answer?.errors[0]?.message ?? `the control API answered ${response.status}`);
}
