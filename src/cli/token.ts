/** `selvedge token`: API tokens. A token's value is shown once, when it is made; only its hash is kept. */
import { Command } from 'commander';
import { createToken, listAccounts, listTokens, revokeToken, s3Credentials } from '../core/accounts.ts';
import type { Token } from '../model/documents.ts';
import { dataOption, withLedger } from './data-dir.ts';
import { print, table } from './table.ts';

export function tokenCommand(): Command {
  const command = new Command('token').description('API tokens of accounts').addHelpText(
    'after',
    `
Examples:
  selvedge token create --name ci --expires 90d
  selvedge token create --account 4f1c... --name "Web team"
  selvedge token create --name photos --r2 read --bucket photos     for S3 clients
  selvedge token list
  selvedge token revoke 9a0b...`,
  );
  command
    .command('create')
    .description('make a token and show it, once')
    .option('--account <id>', 'account it belongs to (default: the only one)')
    .option('--name <name>', 'name for people', 'token')
    .option('--r2 <access>', 'only for R2’s objects over the S3 API: "read" or "write"')
    .option('--bucket <name...>', 'with --r2: only for these buckets')
    .option('--expires <when>', 'days from now (90d), hours (12h) or a date (2027-01-31)')
    .addOption(dataOption())
    .action(async ({ account, name, expires, data, r2, bucket }) => {
      const scope = r2Scope(r2, bucket);
      const { value, token } = await withLedger(data, async (ledger) => {
        const accounts = await listAccounts(ledger);
        const chosen = account ?? (accounts.length === 1 ? accounts[0]!.id : null);
        if (!chosen) throw new Error('there are several accounts: name one by --account (see `selvedge account list`)');
        if (!accounts.some(({ id }) => id === chosen))
          throw new Error(`there is no account ${chosen} (see \`selvedge account list\`)`);
        return createToken(ledger, {
          accountId: chosen,
          name,
          expiresOn: expires ? parseExpiry(expires) : null,
          r2: scope,
        });
      });
      print(
        `Token ${token.id} made${token.expiresOn ? `, valid until ${token.expiresOn}` : ''}. It is shown only now:\n${scope ? s3Text(token, value) : value}`,
      );
    });
  command
    .command('list')
    .description('tokens, without their values')
    .option('--account <id>', 'only of this account')
    .option('--json', 'as JSON')
    .addOption(dataOption())
    .action(async ({ account, data, json }) => {
      const tokens = await withLedger(data, (ledger) => listTokens(ledger, account));
      if (json) return print(JSON.stringify(tokens, null, 2));
      const state = (t: (typeof tokens)[number]) =>
        t.revokedOn ? 'revoked' : t.expiresOn && Date.parse(t.expiresOn) < Date.now() ? 'expired' : 'active';
      const rows = tokens.map((t) => [t.id, t.accountId, t.name, state(t), t.expiresOn ?? 'never']);
      print(table(['ID', 'ACCOUNT', 'NAME', 'STATE', 'EXPIRES'], rows));
    });
  command
    .command('revoke <id>')
    .description('end a token at once')
    .addOption(dataOption())
    .action(async (id, { data }) => {
      await withLedger(data, (ledger) => revokeToken(ledger, id));
      print(`Token ${id} is revoked.`);
    });
  return command;
}

/** What the options --r2 and --bucket say; undefined for a token of the whole account. Throws one clear sentence. */
function r2Scope(access: string | undefined, buckets: string[] | undefined): Token['r2'] {
  if (access === undefined) {
    if (buckets) throw new Error('--bucket needs --r2 read or --r2 write');
    return undefined;
  }
  if (access !== 'read' && access !== 'write') throw new Error(`--r2 ${access}: "read" or "write" is expected`);
  return { access, buckets: buckets ?? null };
}

/** For a shell, as in wrangler.env. */
function s3Text(token: Token, value: string): string {
  const { accessKeyId, secretAccessKey } = s3Credentials(token, value);
  return `export AWS_ACCESS_KEY_ID="${accessKeyId}"\nexport AWS_SECRET_ACCESS_KEY="${secretAccessKey}"`;
}

/** ISO 8601; `Date.parse` alone makes a date of nearly anything. */
function parseDate(text: string): number {
  return /^\d{4}-\d\d-\d\d(T.*)?$/.test(text) ? Date.parse(text) : Number.NaN;
}

/** "90d", "12h" or a date -> ISO 8601. Throws one clear sentence. */
export function parseExpiry(text: string, now = Date.now()): string {
  const match = /^(\d{1,5})([dh])$/.exec(text);
  const time = match ? now + Number(match[1]) * (match[2] === 'd' ? 86_400_000 : 3_600_000) : parseDate(text);
  if (Number.isNaN(time))
    throw new Error(`--expires ${text}: neither a span such as 90d or 12h nor a date such as 2027-01-31`);
  if (time <= now) throw new Error(`--expires ${text}: that is in the past`);
  return new Date(time).toISOString();
}
